// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * What the programs need of the kernel's user space interface, written down here so that building them needs clang and nothing else: types, map
 * types, helpers by their numbers (linux/bpf.h), and the context structs. Only what is used.
 */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))

/* Maps are described by the types of the members of a struct in the section ".maps" (BTF-defined maps). */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_SOCKMAP = 15,
};

#define BPF_F_NO_PREALLOC 1U

enum sk_action {
	SK_DROP = 0,
	SK_PASS = 1,
};

struct bpf_sock;

/* The context of a program of type sk_lookup (Linux 5.9). */
struct bpf_sk_lookup {
	__u64 cookie_or_sk;
	__u32 family;
	__u32 protocol;
	__u32 remote_ip4;     /* network byte order, as are the other addresses and remote_port */
	__u32 remote_ip6[4];
	__be16 remote_port;
	__u16 : 16;
	__u32 local_ip4;
	__u32 local_ip6[4];
	__u32 local_port;     /* host byte order */
	__u32 ingress_ifindex;
};

#define AF_INET 2
#define AF_INET6 10

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_sk_release)(void *sock) = (void *)86;
static long (*const bpf_sk_assign)(void *ctx, void *sk, __u64 flags) = (void *)124;
