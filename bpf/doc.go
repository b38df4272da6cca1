// Package bpf holds the kernel programs of Sluice, written in C, and what bpf2go generates from them. The objects are committed, so that building Sluice needs no clang; go generate
// makes them anew with the version of clang that is named below, and make check compares.
package bpf

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -Wall -Werror -Iinclude" -target bpfel -type steer_key -type steer_rule -type steer_counters -type steer_name -go-package bpf Steer sk_steer.c
