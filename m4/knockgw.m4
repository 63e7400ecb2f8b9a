dnl SPDX-License-Identifier: GPL-2.0-or-later

dnl KNOCKGW_LIBRARY(PREFIX, MODULE, DEBIAN-PACKAGE): a library that must be there.
AC_DEFUN([KNOCKGW_LIBRARY],
  [PKG_CHECK_MODULES([$1], [$2], [],
    [AC_MSG_ERROR([$2 is missing; Debian package: $3])])])

dnl KNOCKGW_TRY_CFLAG(VARIABLE, FLAG): appends FLAG to VARIABLE when compiler and linker take it.
AC_DEFUN([KNOCKGW_TRY_CFLAG],
  [AC_MSG_CHECKING([whether $CC takes $2])
  knockgw_saved_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS -Werror $2"
  AC_LINK_IFELSE([AC_LANG_PROGRAM([[]], [[]])],
    [AC_MSG_RESULT([yes])
    $1="${$1:+$$1 }$2"],
    [AC_MSG_RESULT([no])])
  CFLAGS=$knockgw_saved_CFLAGS])

AC_DEFUN([KNOCKGW_WARNINGS],
  [AC_ARG_ENABLE([werror],
    [AS_HELP_STRING([--disable-werror], [let warnings be warnings])], [], [enable_werror=yes])
  WARNING_CFLAGS="-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wformat=2 -Wundef -Wvla"
  AS_IF([test "$enable_werror" = yes], [WARNING_CFLAGS="$WARNING_CFLAGS -Werror"])
  AC_SUBST([WARNING_CFLAGS])])

dnl Sanitizers, fuzzing and coverage; each changes how everything is compiled.
AC_DEFUN([KNOCKGW_INSTRUMENTATION],
  [AC_ARG_ENABLE([sanitizers],
    [AS_HELP_STRING([--enable-sanitizers@<:@=LIST@:>@], [compile with these sanitizers (default LIST: address,undefined)])],
    [], [enable_sanitizers=no])
  AC_ARG_ENABLE([fuzzing],
    [AS_HELP_STRING([--enable-fuzzing], [build the libFuzzer targets (needs clang)])], [], [enable_fuzzing=no])
  AC_ARG_ENABLE([coverage],
    [AS_HELP_STRING([--enable-coverage], [compile for gcov; make coverage prints a report])], [], [enable_coverage=no])
  INSTRUMENT_CFLAGS=
  AS_IF([test "$enable_sanitizers" = yes], [enable_sanitizers=address,undefined])
  AS_IF([test "$enable_sanitizers" != no],
    [INSTRUMENT_CFLAGS="-fsanitize=$enable_sanitizers -fno-omit-frame-pointer -fno-sanitize-recover=all"
    AC_DEFINE([WITH_SANITIZERS], [1], [The run-time libraries of sanitizers need more system calls.])])
  AS_IF([test "$enable_fuzzing" = yes],
    [INSTRUMENT_CFLAGS="$INSTRUMENT_CFLAGS -fsanitize=fuzzer-no-link"
    knockgw_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $INSTRUMENT_CFLAGS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[]], [[]])], [],
      [AC_MSG_ERROR([--enable-fuzzing needs clang with its runtime (CC=clang; Debian packages: clang, libclang-rt-14-dev)])])
    CFLAGS=$knockgw_saved_CFLAGS
    FUZZ_DRIVER=-fsanitize=fuzzer])
  AC_SUBST([FUZZ_DRIVER])
  AS_IF([test "$enable_coverage" = yes], [INSTRUMENT_CFLAGS="$INSTRUMENT_CFLAGS --coverage -O0"])
  dnl For the one test of threads, which is built with it whatever the rest is built with.
  THREAD_SANITIZER=-fsanitize=thread
  knockgw_saved_CFLAGS=$CFLAGS
  CFLAGS="-pthread $THREAD_SANITIZER"
  AC_MSG_CHECKING([whether the thread sanitizer can be linked])
  AC_LINK_IFELSE([AC_LANG_PROGRAM([[]], [[]])], [AC_MSG_RESULT([yes])],
    [AC_MSG_RESULT([no]); THREAD_SANITIZER=])
  CFLAGS=$knockgw_saved_CFLAGS
  AC_SUBST([THREAD_SANITIZER])
  AM_CONDITIONAL([FUZZING], [test "$enable_fuzzing" = yes])
  AM_CONDITIONAL([COVERAGE], [test "$enable_coverage" = yes])
  AC_SUBST([INSTRUMENT_CFLAGS])])

dnl On by default. _FORTIFY_SOURCE needs optimisation and does not go with sanitizers.
AC_DEFUN([KNOCKGW_HARDENING],
  [AC_ARG_ENABLE([hardening],
    [AS_HELP_STRING([--disable-hardening], [leave out the hardening flags])], [], [enable_hardening=yes])
  HARDENING_CFLAGS=
  HARDENING_LDFLAGS=
  AS_IF([test "$enable_hardening" = yes],
    [KNOCKGW_TRY_CFLAG([HARDENING_CFLAGS], [-fPIE])
    KNOCKGW_TRY_CFLAG([HARDENING_CFLAGS], [-fstack-protector-strong])
    KNOCKGW_TRY_CFLAG([HARDENING_CFLAGS], [-fstack-clash-protection])
    KNOCKGW_TRY_CFLAG([HARDENING_CFLAGS], [-fcf-protection])
    KNOCKGW_TRY_CFLAG([HARDENING_LDFLAGS], [-pie])
    KNOCKGW_TRY_CFLAG([HARDENING_LDFLAGS], [-Wl,-z,relro])
    KNOCKGW_TRY_CFLAG([HARDENING_LDFLAGS], [-Wl,-z,now])
    AS_CASE(["$CFLAGS $INSTRUMENT_CFLAGS"],
      [*-O0*|*sanitize*], [],
      [*-O*], [HARDENING_CFLAGS="$HARDENING_CFLAGS -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3"])])
  AC_SUBST([HARDENING_CFLAGS])
  AC_SUBST([HARDENING_LDFLAGS])])
