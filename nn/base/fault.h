// Fault points: named places where a test makes something go wrong. A point costs one load and a branch.
//
//     if (mn_fault("ckpt.rename")) return mn_fail(MN_EIO, "injected");
//
// Armed by the environment: MIEN_FAULT="ckpt.rename:3=fail,step:7=kill,loader.read:2=stall" — at the n-th passage
// (counted per process, from 1; 0 = every passage) of the point: `fail` makes mn_fault return 1, `kill` is SIGKILL,
// `exit` is _exit(1), `usr` and `term` send the process USR2 and TERM, `stall` sleeps for ever, `nan` returns 2, `full` (a
// full disk) returns 3. A rank is chosen with "@1": "step:7@1=kill". A text that cannot be read ends the process with 64.
// Threading: any thread.
#ifndef MN_FAULT_H
#define MN_FAULT_H

int mn_fault_hit(const char *point); // use mn_fault
extern int mn_fault_armed;           // set once at start by mn_fault_init
void mn_fault_init(int rank);        // reads MIEN_FAULT
#define mn_fault(point) (mn_fault_armed ? mn_fault_hit(point) : 0)

#endif
