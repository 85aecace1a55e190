// Between pieces of long work: do all ranks go on? Not when one has an error, and not when a signal (signal.h) has asked
// one of them to stop: that is MN_EINTERRUPTED on every rank.
//
//     MN_TRY(dist_proceed(comm, open_data()));             // pieces that all ranks have equally many of
//
//     dist_share s; dist_share_begin(&s, comm);            // shares of which one may take hours longer than another
//     while (err == MN_OK && there_is_more()) { err = do_a_piece(); if (err == MN_OK) err = dist_share_proceed(&s); }
//     MN_TRY(dist_share_end(&s, err));                     // waits for the others
//
// While a share is worked on the ranks meet about once a second, so that no rank takes one that works for one that
// hangs, and all stop together. Every call restarts the deadline of a watchdog. Threading: the thread of the communicator.
#ifndef DIST_PROCEED_H
#define DIST_PROCEED_H

#include "dist/comm.h"

// Collective; like dist_agree.
MN_MUST_CHECK mn_err dist_proceed(dist_comm *c, mn_err mine);

typedef struct dist_share {
    dist_comm *comm;
    int64_t met_ns;
    int over; // all ranks know of an error
} dist_share;

void dist_share_begin(dist_share *s, dist_comm *c);
// On each rank as often as it likes. An error is everybody's and has to end the share.
MN_MUST_CHECK mn_err dist_share_proceed(dist_share *s);
// Collective. mine: how the share ended here, be it an error of dist_share_proceed.
MN_MUST_CHECK mn_err dist_share_end(dist_share *s, mn_err mine);

#endif
