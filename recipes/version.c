#include "recipes/version.h"

#include "data/shard.h"
#include "dist/comm.h"
#include "nn/base/err.h"
#include "nn/device_cuda.h"
#include "nn/onednn.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

int mien_print_version(void)
{
    char onednn[32], hdf5[32];
    int safe;
#ifdef __OPTIMIZE__
    const char *kind = "optimised";
#else
    const char *kind = "not optimised";
#endif
    printf("mien %s\n", MIEN_VERSION);
    printf("compiler  %s, %s build\n", __VERSION__, kind);
    printf("devices   cpu%s\n", nn_cuda_module_present() ? ", cuda (mien_cuda.so is there; mien doctor tries it)" : "");
    printf("libraries oneDNN %s, %s, HDF5 %s\n", nn_onednn_version(onednn, sizeof onednn), dist_library(),
           data_hdf5_version(hdf5, sizeof hdf5, &safe));
    return ferror(stdout) ? mn_exit_code(MN_EIO) : 0;
}

uint64_t mien_binary_digest(void)
{
    struct stat st;
    uint64_t digest = 0;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    if (fstat(fd, &st) == 0 && st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p != MAP_FAILED) {
            digest = XXH3_64bits(p, (size_t)st.st_size);
            munmap(p, (size_t)st.st_size);
        }
    }
    close(fd);
    return digest;
}
