// Streams, events and captured graphs. See cuda_runtime.h.
//
// Nothing runs when it is put into a stream; it runs when something waits for it, and then only what that needs. So work
// that should have been ordered by an event and is not runs in the wrong order here, every time; a host buffer that is
// reused too early is copied with its new contents.
#include <cuda_runtime.h>

#include <deque>
#include <map>
#include <memory>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <vector>

enum { SHARED_BYTES = 227 * 1024, SHARED_BYTES_UNASKED = 48 * 1024 }; // of a block: at most, and without an attribute
enum op_kind { WORK, RECORD, WAIT };

struct op {
    op_kind kind;
    const char *name;
    std::function<bool()> work; // false: not yet, to be called again
    cuda_port_event *event;
    uint64_t version; // of the event
};

struct cuda_port_event {
    uint64_t version = 0;                           // of the last record
    std::map<uint64_t, cuda_port_stream *> pending; // where versions that have not happened yet will
    cuda_port_graph *capture = NULL;                // that the last record belongs to
    cuda_port_stream *captured_on = NULL;
    uint64_t captured_after = 0; // operations of that stream
};

struct cuda_port_stream {
    std::deque<op> queue;
    cuda_port_graph *capture = NULL;
    uint64_t captured = 0, joined = 0; // operations captured, and how many of them another stream waits for
};

struct cuda_port_graph {
    cuda_port_stream *origin;
    std::map<cuda_port_stream *, std::deque<op>> queue;
};

static std::vector<cuda_port_stream *> streams;
static cuda_port_stream legacy; // the stream 0
static cuda_port_graph *capturing;
static cudaError_t last_error;

static cudaError_t fail(cudaError_t e)
{
    last_error = e;
    return e;
}

static void stuck(const char *what)
{
    fprintf(stderr, "CUDA port: %s\n", what);
    abort();
}

typedef std::map<cuda_port_stream *, std::deque<op>> queues;

// Memory of the device belongs to work of the streams alone: the host that touches it gets SIGSEGV, as it would. Not
// under the address sanitizer, whose own memory finds other faults.
static std::map<void *, size_t> allocated;
static int at_work;

#if defined(__SANITIZE_ADDRESS__)
static void *device_memory(size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, 256, bytes ? bytes : 1) != 0) return NULL;
    return memset(p, 0xff, bytes); // what a device leaves there is anything
}

static void give_back_device_memory(void *p, size_t)
{
    free(p);
}

static void protect(int) {}
#else
// Pages with the memory at their end: behind it lies one that nothing may reach into.
static size_t pages(size_t bytes)
{
    return (bytes + 4095) / 4096 * 4096;
}

static char *first_page(void *p)
{
    return (char *)p - (uintptr_t)p % 4096;
}

static void *device_memory(size_t bytes)
{
    size_t aligned = (bytes + 255) / 256 * 256;
    char *p = (char *)mmap(NULL, pages(aligned) + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    (void)mprotect(p, pages(aligned), PROT_READ | PROT_WRITE);
    memset(p, 0xff, pages(aligned)); // what a device leaves there is anything
    (void)mprotect(p, pages(aligned), PROT_NONE);
    return p + pages(aligned) - aligned;
}

static void give_back_device_memory(void *p, size_t bytes)
{
    (void)munmap(first_page(p), pages((bytes + 255) / 256 * 256) + 4096);
}

static void protect(int access)
{
    for (auto &a : allocated)
        (void)mprotect(first_page(a.first), pages((a.second + 255) / 256 * 256), access);
}
#endif

struct working { // while one of these lives, work may touch the memory of the device
    working()
    {
        if (at_work++ == 0) protect(PROT_READ | PROT_WRITE);
    }
    ~working()
    {
        if (--at_work == 0) protect(PROT_NONE);
    }
};

// Runs a list up to its end, or up to version `until` of an event; what it waits for runs first. False: something is not
// ready yet (a sum whose peer is late). `record` is told of every record, `where` says in which list a version lies.
struct runner {
    std::function<std::deque<op> &(cuda_port_stream *)> list;
    std::function<bool(cuda_port_event *, uint64_t)> happened;
    std::function<cuda_port_stream *(cuda_port_event *, uint64_t)> where;
    std::function<void(cuda_port_event *, uint64_t)> record;
    int depth = 0;

    bool run(cuda_port_stream *s, cuda_port_event *until, uint64_t version)
    {
        bool went = true;
        working now;
        if (++depth > 64) stuck("streams wait for each other in a circle");
        while (went && !list(s).empty() && !(until && happened(until, version))) {
            op o = list(s).front();
            if (o.kind == WAIT && !happened(o.event, o.version)) {
                went = run(where(o.event, o.version), o.event, o.version);
                if (went && !happened(o.event, o.version)) stuck("a stream waits for an event that never comes");
            }
            if (went && o.kind == WORK) went = o.work();
            if (!went) break;
            list(s).pop_front();
            if (o.kind == RECORD) record(o.event, o.version);
        }
        depth--;
        return went;
    }
};

static runner live()
{
    return {.list = [](cuda_port_stream *s) -> std::deque<op> & { return s->queue; },
            .happened = [](cuda_port_event *e, uint64_t v) { return e->pending.count(v) == 0; },
            .where = [](cuda_port_event *e, uint64_t v) { return e->pending[v]; },
            .record = [](cuda_port_event *e, uint64_t v) { e->pending.erase(v); }};
}

static void run_all(cuda_port_stream *s)
{
    while (!live().run(s, NULL, 0))
        sched_yield();
}

static void run_everything()
{
    for (size_t i = streams.size(); i-- > 0;) // the newest first: the least likely order on a device
        run_all(streams[i]);
    run_all(&legacy);
}

// One launch of a graph, which may stop in the middle and go on.
struct graph_run {
    queues left;
    std::map<std::pair<cuda_port_event *, uint64_t>, cuda_port_stream *> pending;
    cuda_port_stream *origin;

    explicit graph_run(const cuda_port_graph *g) : left(g->queue), origin(g->origin)
    {
        for (auto &q : left)
            for (op &o : q.second)
                if (o.kind == RECORD) pending[{o.event, o.version}] = q.first;
    }

    bool run()
    {
        runner r = {.list = [&](cuda_port_stream *s) -> std::deque<op> & { return left[s]; },
                    .happened =
                        [&](cuda_port_event *e, uint64_t v) {
                            return pending.count({e, v}) == 0;
                        },
                    .where =
                        [&](cuda_port_event *e, uint64_t v) {
                            return pending[{e, v}];
                        },
                    .record =
                        [&](cuda_port_event *e, uint64_t v) {
                            pending.erase({e, v});
                        }};
        bool went = r.run(origin, NULL, 0);
        for (auto &q : left) // joined, so only records that nobody waits for can be left
            if (went) went = r.run(q.first, NULL, 0);
        return went;
    }
};

static cuda_port_stream *of(cudaStream_t s)
{
    return s ? s : &legacy;
}

static void put(cuda_port_stream *s, op o)
{
    if (s->capture) {
        s->capture->queue[s].push_back(o);
        s->captured++;
        return;
    }
    if (capturing && s == &legacy) {
        fail(cudaErrorStreamCaptureUnsupported);
        return;
    }
    if (s == &legacy) run_everything();
    s->queue.push_back(o);
    if (s == &legacy) run_all(s);
}

static std::function<bool()> at_once(std::function<void()> work)
{
    return [=] {
        work();
        return true;
    };
}

void cuda_port_enqueue(cudaStream_t s, const char *name, std::function<void()> work)
{
    put(of(s), {WORK, name, at_once(work), NULL, 0});
}

void cuda_port_enqueue_poll(cudaStream_t s, const char *name, std::function<bool()> work)
{
    put(of(s), {WORK, name, work, NULL, 0});
}

// --- errors, device ---
cudaError_t cudaGetLastError()
{
    cudaError_t e = last_error;
    last_error = cudaSuccess;
    return e;
}

cudaError_t cudaPeekAtLastError()
{
    return last_error;
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorNoKernelImageForDevice:
        return "no kernel image is available for execution on the device";
    case cudaErrorNotReady:
        return "device not ready";
    case cudaErrorStreamCaptureUnsupported:
        return "operation not permitted when stream is capturing";
    default:
        return "invalid argument";
    }
}

static int number_of(const char *variable, int otherwise)
{
    const char *text = getenv(variable);
    return text ? atoi(text) : otherwise;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = number_of("CUDA_PORT_DEVICES", 1);
    return *n > 0 ? cudaSuccess : fail((cudaError_t)35); // as without a driver
}

static int current_device;
cudaError_t cudaSetDevice(int device)
{
    current_device = device;
    return device >= 0 && device < number_of("CUDA_PORT_DEVICES", 1) ? cudaSuccess : fail(cudaErrorInvalidValue);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = current_device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "CPU port");
    p->totalGlobalMem = (size_t)number_of("CUDA_PORT_MEMORY_MB", 8192) << 20;
    p->sharedMemPerBlockOptin = SHARED_BYTES;
    p->major = 9;
    p->multiProcessorCount = 4;
    p->l2CacheSize = 50 << 20;
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int, int)
{
    *can = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int size, int device)
{
    snprintf(text, (size_t)size, "0000:%02x:00.0", device);
    return cudaSuccess;
}

// --- attributes of kernels ---
static std::map<const void *, int> most_shared;

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute, int value)
{
    if (value < 0 || value > SHARED_BYTES) return fail(cudaErrorInvalidValue);
    most_shared[kernel] = value;
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *kernel)
{
    const auto at = most_shared.find(kernel);
    a->maxDynamicSharedSizeBytes = at == most_shared.end() ? (int)SHARED_BYTES_UNASKED : at->second;
    return cudaSuccess;
}

bool cuda_port_allowed(const void *kernel, size_t shared_bytes)
{
    static const int code = number_of("CUDA_PORT_CODE", 1); // 0: as a GPU that nothing was compiled for
    cudaFuncAttributes a;
    cudaFuncGetAttributes(&a, kernel);
    if (!code) {
        fail(cudaErrorNoKernelImageForDevice);
        return false;
    }
    if (shared_bytes <= (size_t)a.maxDynamicSharedSizeBytes) return true;
    fail(cudaErrorInvalidValue);
    return false;
}

// --- memory ---
static size_t in_use;

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *total = (size_t)number_of("CUDA_PORT_MEMORY_MB", 8192) << 20;
    *free_bytes = *total - in_use;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    size_t free_bytes, total;
    if (capturing) return fail(cudaErrorStreamCaptureUnsupported);
    cudaMemGetInfo(&free_bytes, &total);
    *p = NULL;
    if (bytes > free_bytes) return fail(cudaErrorMemoryAllocation);
    *p = device_memory(bytes);
    if (!*p) return fail(cudaErrorMemoryAllocation);
    allocated[*p] = bytes;
    in_use += bytes;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    if (!p) return cudaSuccess;
    if (capturing) return fail(cudaErrorStreamCaptureUnsupported);
    run_everything();
    auto at = allocated.find(p);
    if (at == allocated.end()) return fail(cudaErrorInvalidValue);
    in_use -= at->second;
    size_t bytes = at->second;
    allocated.erase(at);
    give_back_device_memory(p, bytes);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned)
{
    return posix_memalign(p, 256, bytes ? bytes : 1) == 0 ? cudaSuccess : fail(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *p)
{
    run_everything();
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t s)
{
    put(of(s), {WORK, "memcpy", at_once([=] { memmove(to, from, bytes); }), NULL, 0});
    return cudaSuccess;
}

// From pageable memory it returns when the bytes have been taken: they get there in the order of stream 0.
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (capturing) return fail(cudaErrorStreamCaptureUnsupported);
    run_all(&legacy);
    if (kind == cudaMemcpyHostToDevice) {
        const std::vector<char> taken((const char *)from, (const char *)from + bytes);
        const op copy = {WORK, "memcpy", at_once([=] { memcpy(to, taken.data(), taken.size()); }), NULL, 0};
        legacy.queue.push_back(copy); // put would run it at once
        return cudaSuccess;
    }
    working now;
    memmove(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t s)
{
    put(of(s), {WORK, "memset", at_once([=] { memset(p, byte, bytes); }), NULL, 0});
    return cudaSuccess;
}

cudaError_t cudaMemset(void *p, int byte, size_t bytes)
{
    return cudaMemsetAsync(p, byte, bytes, NULL);
}

// --- streams and events ---
cudaError_t cudaDeviceSynchronize()
{
    if (capturing) return fail(cudaErrorStreamCaptureUnsupported);
    run_everything();
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    *s = new cuda_port_stream;
    streams.push_back(*s);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int)
{
    return cudaStreamCreateWithFlags(s, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    run_all(s);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == s) streams.erase(streams.begin() + (long)i);
    delete s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    if (capturing) return fail(cudaErrorStreamCaptureUnsupported);
    run_all(of(s));
    return cudaSuccess;
}

// A question makes work go on, or who asks would wait for ever.
cudaError_t cudaStreamQuery(cudaStream_t s)
{
    if (capturing) return fail(cudaErrorStreamCaptureUnsupported);
    return live().run(of(s), NULL, 0) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    *e = new cuda_port_event;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    run_everything();
    delete e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t stream)
{
    cuda_port_stream *s = of(stream);
    uint64_t version = ++e->version;
    e->capture = s->capture;
    if (s->capture) {
        put(s, {RECORD, "record", nullptr, e, version});
        e->captured_on = s;
        e->captured_after = s->captured;
        return cudaSuccess;
    }
    e->pending[version] = s;
    put(s, {RECORD, "record", nullptr, e, version});
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t e, unsigned)
{
    cuda_port_stream *s = of(stream);
    if (e->version == 0) return cudaSuccess;
    if (e->capture) { // the stream joins the capture
        if (!capturing) return fail(cudaErrorInvalidValue);
        s->capture = e->capture;
        if (s != e->captured_on && e->captured_after > e->captured_on->joined)
            e->captured_on->joined = e->captured_after;
    } else if (s->capture) {
        return fail(cudaErrorStreamCaptureUnsupported); // a captured stream may not wait for work outside
    }
    put(s, {WAIT, "wait", nullptr, e, e->version});
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    if (capturing) return fail(cudaErrorStreamCaptureUnsupported);
    while (cudaEventQuery(e) == cudaErrorNotReady)
        sched_yield();
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    if (capturing) return fail(cudaErrorStreamCaptureUnsupported);
    auto at = e->pending.find(e->version);
    if (at != e->pending.end()) live().run(at->second, e, e->version);
    return e->pending.count(e->version) == 0 ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t, cudaEvent_t)
{
    *ms = 1;
    return cudaSuccess;
}

// --- graphs ---
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode)
{
    if (!s || capturing) return fail(cudaErrorStreamCaptureUnsupported);
    capturing = new cuda_port_graph;
    capturing->origin = s;
    s->capture = capturing;
    s->captured = s->joined = 0;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph)
{
    cudaError_t e = capturing && capturing->origin == s ? cudaSuccess : cudaErrorInvalidValue;
    for (cuda_port_stream *other : streams) {
        if (!other->capture) continue;
        if (other != s && other->joined < other->captured) e = cudaErrorStreamCaptureUnsupported; // not joined
        other->capture = NULL;
        other->captured = other->joined = 0;
    }
    *graph = capturing;
    capturing = NULL;
    return e == cudaSuccess ? e : fail(e);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new cuda_port_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    auto state = std::make_shared<graph_run>(exec);
    put(of(s), {WORK, "graph", [=] { return state->run(); }, NULL, 0});
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    run_everything();
    delete exec;
    return cudaSuccess;
}
