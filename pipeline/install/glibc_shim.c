/* The six symbols of glibc 2.38 and GCC 13+ that two prebuilt extension modules
 * ask for, for hosts which have an older glibc and libstdc++.
 *
 * No header is included and no library is linked, so that any C compiler makes the
 * same small object (gcc, clang, zig) without C++ headers of the host. What is
 * called here comes from the glibc and the libstdc++ that the host loads anyway.
 */

extern long strtol(const char *text, char **end, int base);
extern unsigned long strtoul(const char *text, char **end, int base);
extern long long strtoll(const char *text, char **end, int base);
extern unsigned long long strtoull(const char *text, char **end, int base);

/* C23's variants differ from these only in that they also read "0b101". */
long __isoc23_strtol(const char *text, char **end, int base) { return strtol(text, end, base); }
unsigned long __isoc23_strtoul(const char *text, char **end, int base) { return strtoul(text, end, base); }
long long __isoc23_strtoll(const char *text, char **end, int base) { return strtoll(text, end, base); }
unsigned long long __isoc23_strtoull(const char *text, char **end, int base) { return strtoull(text, end, base); }

/* Called when an exception leaves a noexcept function: catch it, then terminate. */
extern void *__cxa_begin_catch(void *exception);
extern void std_terminate(void) __asm__("_ZSt9terminatev");
void __cxa_call_terminate(void *exception) {
  if (exception) __cxa_begin_catch(exception);
  std_terminate();
}

/* GCC 13 moved the construction of std::cin and std::cout from every object file
 * into libstdc++ itself; this symbol is only the proof that libstdc++ is new enough.
 * An older libstdc++ must be told to construct them: that is what std::ios_base::Init
 * is for. Its constructor counts its calls and does not touch its (empty) object. */
extern void ios_base_init(void *self) __asm__("_ZNSt8ios_base4InitC1Ev");
void ios_base_library_init(void) __asm__("_ZSt21ios_base_library_initv");
void ios_base_library_init(void) {}

__attribute__((constructor)) static void construct_standard_streams(void) {
  static char self;
  ios_base_init(&self);
}
