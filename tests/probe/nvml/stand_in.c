/* A stand-in for libnvidia-ml.so.1 that answers from a text file, so that the real pynvml can be tested without a GPU.
 *
 * The environment variable NVML_STAND_IN names the file. A line is "PATTERN VALUE"; PATTERN is a shell pattern over keys such as
 * system.driver, 0.name, 2.link.5.state, 0.1.topology, 3.mig.0.uuid. The first matching line wins; no line means NOT_SUPPORTED.
 * A VALUE of "!15" returns error 15; "~30" sleeps 30 seconds and then returns TIMEOUT. Lines that start with # are comments.
 *
 * Structures and signatures follow what the pynvml binding declares with ctypes. Compiled with -DOLD_DRIVER, functions that came with
 * later drivers are left out, which is what a missing symbol means to the binding.
 */
#include <fnmatch.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, ARGUMENT_VERSION_MISMATCH = 25 };

typedef struct { char prefix[24]; } *device;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char address[32]; } pci_info;
typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned version, sensor; int temperature; } temperature_v1;
typedef struct { unsigned units, copy, decode, encode, jpeg, ofa, gpu_slices, compute_slices; unsigned long long memory_mib; } attributes;
typedef struct { uint32_t field, scope; int64_t timestamp, latency; unsigned type, result; union { double d; unsigned u; uint64_t l; } value; } field_value;
typedef struct { unsigned version; uint8_t cluster[16]; unsigned status; uint32_t clique, state, health; } fabric_info;

static char *lines[4096];
static int line_count = -1;

static void load(void)
{
    const char *path = getenv("NVML_STAND_IN");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    while (line_count > 0)
        free(lines[--line_count]);
    line_count = 0;
    while (file && line_count < 4096 && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0] && line[0] != '#')
            lines[line_count++] = strdup(line);
    }
    if (file)
        fclose(file);
}

/* The value of a key, or an error: *text points behind the pattern of the first line that matches. */
static int find(const char *key, const char **text)
{
    if (line_count < 0)
        load();
    for (int i = 0; i < line_count; i++) {
        char pattern[128];
        int end = 0;
        if (sscanf(lines[i], "%127s %n", pattern, &end) != 1 || fnmatch(pattern, key, 0))
            continue;
        *text = lines[i] + end;
        if (**text == '!')
            return atoi(*text + 1);
        if (**text == '~') {
            sleep((unsigned)atoi(*text + 1));
            return TIMEOUT;
        }
        return SUCCESS;
    }
    return NOT_SUPPORTED;
}

static int find_of(device d, const char *name, const char **text)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", d->prefix, name);
    return find(key, text);
}

static int number(device d, const char *name, unsigned long long *out)
{
    const char *text;
    int error = find_of(d, name, &text);
    if (!error)
        *out = strtoull(text, NULL, 0);
    return error;
}

static int uint_of(device d, const char *name, unsigned *out)
{
    unsigned long long value = 0;
    int error = number(d, name, &value);
    if (!error)
        *out = (unsigned)value;
    return error;
}

/* Two numbers in one value: "1 0". */
static int pair_of(device d, const char *name, unsigned *first, unsigned *second)
{
    const char *text;
    int error = find_of(d, name, &text);
    return error ? error : sscanf(text, "%u %u", first, second) == 2 ? SUCCESS : INVALID_ARGUMENT;
}

static int copy(int error, const char *text, char *out, unsigned size)
{
    if (error)
        return error;
    if (strlen(text) >= size)
        return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return SUCCESS;
}

static int text_of(device d, const char *name, char *out, unsigned size)
{
    const char *text = "";
    int error = find_of(d, name, &text);
    return copy(error, text, out, size);
}

static int system_text(const char *key, char *out, unsigned size)
{
    const char *text = "";
    int error = find(key, &text);
    return copy(error, text, out, size);
}

static device handle(const char *prefix)
{
    static device made[512];
    static int count;
    for (int i = 0; i < count; i++)
        if (!strcmp(made[i]->prefix, prefix))
            return made[i];
    device d = calloc(1, sizeof *d);
    snprintf(d->prefix, sizeof d->prefix, "%s", prefix);
    return made[count++] = d;
}

static int pci_of(device d, const char *name, pci_info *out)
{
    const char *text;
    int error = find_of(d, name, &text);
    if (error)
        return error;
    memset(out, 0, sizeof *out);
    /* "00000000:07:00.0 0x20B010DE 0x144E10DE" */
    sscanf(text, "%31s %x %x", out->address, &out->id, &out->subsystem);
    sscanf(out->address, "%x:%x:%x", &out->domain, &out->bus, &out->device);
    snprintf(out->legacy, sizeof out->legacy, "%04x:%02x:%02x.0", out->domain & 0xffff, out->bus & 0xff, out->device & 0xff);
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags)
{
    const char *text;
    (void)flags;
    load(); /* each initialisation reads the file anew, so that one process can ask about many */
    int error = find("system.init", &text);
    return error == NOT_SUPPORTED ? SUCCESS : error;
}
int nvmlShutdown(void)
{
    const char *text, *path = getenv("NVML_STAND_IN_SHUTDOWN");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fputs("shutdown\n", file);
        fclose(file);
    }
    return find("system.shutdown", &text) == SUCCESS ? 1 : SUCCESS;
}
const char *nvmlErrorString(int error) { return error ? "stand-in error" : "Success"; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { return system_text("system.driver", out, size); }
int nvmlSystemGetNVMLVersion(char *out, unsigned size) { return system_text("system.nvml", out, size); }
int nvmlSystemGetCudaDriverVersion(int *out)
{
    const char *text;
    int error = find("system.cuda", &text);
    if (!error)
        *out = atoi(text);
    return error;
}
int nvmlDeviceGetCount_v2(unsigned *out)
{
    const char *text;
    int error = find("system.count", &text);
    if (!error)
        *out = (unsigned)atoi(text);
    return error;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *out)
{
    char prefix[16], key[32];
    const char *text;
    snprintf(prefix, sizeof prefix, "%u", index);
    snprintf(key, sizeof key, "%u.handle", index);
    int error = find(key, &text);
    if (error && error != NOT_SUPPORTED)
        return error;
    *out = handle(prefix);
    return SUCCESS;
}

int nvmlDeviceGetName(device d, char *out, unsigned size) { return text_of(d, "name", out, size); }
int nvmlDeviceGetUUID(device d, char *out, unsigned size) { return text_of(d, "uuid", out, size); }
int nvmlDeviceGetSerial(device d, char *out, unsigned size) { return text_of(d, "serial", out, size); }
int nvmlDeviceGetPciInfo_v3(device d, pci_info *out) { return pci_of(d, "pci", out); }

int nvmlDeviceGetMemoryInfo(device d, memory_v1 *out)
{
    int error = number(d, "memory.total", &out->total);
    number(d, "memory.used", &out->used);
    out->free = out->total - out->used;
    return error;
}
#ifndef OLD_DRIVER
int nvmlDeviceGetMemoryInfo_v2(device d, memory_v2 *out)
{
    if (out->version != 0x02000028)
        return ARGUMENT_VERSION_MISMATCH;
    int error = number(d, "memory.total", &out->total);
    number(d, "memory.used", &out->used);
    number(d, "memory.reserved", &out->reserved);
    out->free = out->total - out->used - out->reserved;
    return error;
}
int nvmlDeviceGetTemperatureV(device d, temperature_v1 *out)
{
    if (out->version != 0x100000C)
        return ARGUMENT_VERSION_MISMATCH;
    unsigned value = 0;
    int error = uint_of(d, "temperature", &value);
    out->temperature = (int)value;
    return error;
}
int nvmlDeviceGetCurrentClocksEventReasons(device d, unsigned long long *out) { return number(d, "throttle", out); }
int nvmlDeviceGetNumaNodeId(device d, unsigned *out) { return uint_of(d, "memory_node", out); }
int nvmlDeviceGetNumGpuCores(device d, unsigned *out) { return uint_of(d, "cores", out); }
int nvmlDeviceGetMemoryBusWidth(device d, unsigned *out) { return uint_of(d, "bus_width", out); }
int nvmlDeviceGetGpuMaxPcieLinkGeneration(device d, unsigned *out) { return uint_of(d, "pcie.gpu_max_generation", out); }
int nvmlDeviceGetNvLinkRemoteDeviceType(device d, unsigned link, unsigned *out)
{
    char name[40];
    snprintf(name, sizeof name, "link.%u.type", link);
    return uint_of(d, name, out);
}
int nvmlDeviceGetGpuFabricInfoV(device d, fabric_info *out)
{
    const char *text;
    int error = find_of(d, "fabric", &text);
    if (error)
        return error;
    /* "STATE CLIQUE BYTE": the cluster's UUID is that byte sixteen times */
    unsigned byte = 0;
    sscanf(text, "%u %u %x", &out->state, &out->clique, &byte);
    memset(out->cluster, (int)byte, sizeof out->cluster);
    out->status = 0;
    return SUCCESS;
}
int nvmlDeviceGetMigMode(device d, unsigned *now, unsigned *pending) { return pair_of(d, "mig", now, pending); }
int nvmlDeviceGetMaxMigDeviceCount(device d, unsigned *out) { return uint_of(d, "mig.max", out); }
int nvmlDeviceGetMigDeviceHandleByIndex(device d, unsigned index, device *out)
{
    char prefix[32], key[48];
    const char *text;
    snprintf(prefix, sizeof prefix, "%s.mig.%u", d->prefix, index);
    snprintf(key, sizeof key, "%s.name", prefix);
    if (find(key, &text))
        return 6; /* NOT_FOUND: no instance at this index */
    *out = handle(prefix);
    return SUCCESS;
}
int nvmlDeviceGetGpuInstanceId(device d, unsigned *out) { return uint_of(d, "gpu_instance", out); }
int nvmlDeviceGetComputeInstanceId(device d, unsigned *out) { return uint_of(d, "compute_instance", out); }
int nvmlDeviceGetAttributes_v2(device d, attributes *out)
{
    memset(out, 0, sizeof *out);
    return uint_of(d, "units", &out->units);
}
#endif
int nvmlDeviceGetTemperature(device d, unsigned sensor, unsigned *out) { (void)sensor; return uint_of(d, "temperature", out); }
int nvmlDeviceGetCurrentClocksThrottleReasons(device d, unsigned long long *out) { return number(d, "throttle", out); }

static int clock_of(device d, const char *what, unsigned domain, unsigned *out)
{
    char name[32];
    snprintf(name, sizeof name, "clock.%s.%u", what, domain);
    return uint_of(d, name, out);
}
int nvmlDeviceGetClockInfo(device d, unsigned domain, unsigned *out) { return clock_of(d, "now", domain, out); }
int nvmlDeviceGetMaxClockInfo(device d, unsigned domain, unsigned *out) { return clock_of(d, "max", domain, out); }

int nvmlDeviceGetPowerUsage(device d, unsigned *out) { return uint_of(d, "power.draw", out); }
int nvmlDeviceGetPowerManagementLimit(device d, unsigned *out) { return uint_of(d, "power.limit", out); }
int nvmlDeviceGetEnforcedPowerLimit(device d, unsigned *out) { return uint_of(d, "power.enforced", out); }
int nvmlDeviceGetPowerManagementDefaultLimit(device d, unsigned *out) { return uint_of(d, "power.default", out); }
int nvmlDeviceGetPowerManagementLimitConstraints(device d, unsigned *least, unsigned *most) { return pair_of(d, "power.range", least, most); }
int nvmlDeviceGetEccMode(device d, unsigned *now, unsigned *pending) { return pair_of(d, "ecc", now, pending); }
int nvmlDeviceGetTotalEccErrors(device d, unsigned error_type, unsigned counter, unsigned long long *out)
{
    char name[32];
    snprintf(name, sizeof name, "ecc.%u.%u", error_type, counter);
    return number(d, name, out);
}
int nvmlDeviceGetCudaComputeCapability(device d, int *major, int *minor) { return pair_of(d, "capability", (unsigned *)major, (unsigned *)minor); }
int nvmlDeviceGetCurrPcieLinkGeneration(device d, unsigned *out) { return uint_of(d, "pcie.generation", out); }
int nvmlDeviceGetMaxPcieLinkGeneration(device d, unsigned *out) { return uint_of(d, "pcie.max_generation", out); }
int nvmlDeviceGetCurrPcieLinkWidth(device d, unsigned *out) { return uint_of(d, "pcie.width", out); }
int nvmlDeviceGetMaxPcieLinkWidth(device d, unsigned *out) { return uint_of(d, "pcie.max_width", out); }
int nvmlDeviceGetPerformanceState(device d, unsigned *out) { return uint_of(d, "pstate", out); }
int nvmlDeviceGetPersistenceMode(device d, unsigned *out) { return uint_of(d, "persistence", out); }

int nvmlDeviceGetNvLinkState(device d, unsigned link, unsigned *out)
{
    char name[40];
    unsigned links = 0;
    int error = uint_of(d, "links", &links);
    if (error)
        return error;
    if (link >= links)
        return INVALID_ARGUMENT;
    snprintf(name, sizeof name, "link.%u.state", link);
    return uint_of(d, name, out);
}
int nvmlDeviceGetNvLinkVersion(device d, unsigned link, unsigned *out)
{
    char name[40];
    snprintf(name, sizeof name, "link.%u.version", link);
    return uint_of(d, name, out);
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(device d, unsigned link, pci_info *out)
{
    char name[40];
    snprintf(name, sizeof name, "link.%u.pci", link);
    return pci_of(d, name, out);
}
int nvmlDeviceGetFieldValues(device d, int count, field_value *values)
{
    for (int i = 0; i < count; i++) {
        char name[40];
        unsigned long long value = 0;
        snprintf(name, sizeof name, "field.%u.%u", values[i].field, values[i].scope);
        values[i].result = (unsigned)number(d, name, &value);
        values[i].type = 1; /* unsigned int */
        values[i].value.u = (unsigned)value;
    }
    return SUCCESS;
}
static int between(device a, device b, const char *what, unsigned *out)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", b->prefix, what);
    return uint_of(a, name, out);
}
int nvmlDeviceGetTopologyCommonAncestor(device a, device b, unsigned *out) { return between(a, b, "topology", out); }
int nvmlDeviceGetP2PStatus(device a, device b, unsigned kind, unsigned *out)
{
    char name[24];
    snprintf(name, sizeof name, "p2p.%u", kind);
    return between(a, b, name, out);
}

/* "LOW HIGH": the bits LOW..HIGH are set. */
static int bits_of(device d, const char *name, unsigned words, uint64_t *out)
{
    unsigned low, high;
    int error = pair_of(d, name, &low, &high);
    if (error)
        return error;
    memset(out, 0, words * sizeof *out);
    for (unsigned bit = low; bit <= high && bit < words * 64; bit++)
        out[bit / 64] |= 1ull << (bit % 64);
    return SUCCESS;
}
int nvmlDeviceGetCpuAffinity(device d, unsigned words, uint64_t *out) { return bits_of(d, "cpus", words, out); }
int nvmlDeviceGetMemoryAffinity(device d, unsigned words, uint64_t *out, unsigned scope) { (void)scope; return bits_of(d, "nodes", words, out); }
