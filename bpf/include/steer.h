// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The layout of the maps of sk_steer.c. Go knows it through bpf2go; a change of it is a new STEER_ABI. */
#pragma once

#include "kernel.h"

#define STEER_ABI 1

#define STEER_GROUPS 256
#define STEER_RANGES 16
#define STEER_PREFIXES 65536

/* The key of the trie: protocol and address. IPv4 addresses are mapped to IPv6. */
struct steer_key {
	__u32 prefixlen; /* 32 for the protocol and what follows, and the bits of the address */
	__u8 protocol;
	__u8 pad[3];
	__u8 addr[16];
};

/* Ports that go to a group of sockets. Narrower ranges stand before wider ones. */
struct steer_range {
	__u16 lo;
	__u16 hi;
	__u32 group;
};

struct steer_rule {
	__u32 count;
	__u32 pad;
	struct steer_range ranges[STEER_RANGES];
};

/* The name of a group, padded with zeros. */
struct steer_name {
	__u8 text[64];
};

struct steer_counters {
	__u64 steered;  /* connections and datagrams that a group's socket got */
	__u64 unserved; /* those of a group without a socket: the ordinary lookup goes on */
};
