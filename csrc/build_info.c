/* What the library was built from and with, which the results of runs record. */
#define PUBLIC __attribute__((visibility("default")))

/* The build passes a digest of the sources. */
#ifndef CONVRNN_SOURCES
#define CONVRNN_SOURCES "unknown"
#endif

#ifdef __clang__
#define COMPILER __VERSION__
#else
#define COMPILER "GCC " __VERSION__
#endif

PUBLIC const char *convrnn_sources(void);
PUBLIC const char *convrnn_compiler(void);

const char *convrnn_sources(void) { return CONVRNN_SOURCES; }

const char *convrnn_compiler(void) { return COMPILER; }
