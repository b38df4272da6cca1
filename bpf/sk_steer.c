//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * sk_steer hands connections and datagrams for whole prefixes and ranges of ports to listening sockets that are bound elsewhere. It runs when the kernel
 * looks for the socket of a packet that belongs to no connection. What no rule is for goes on as if the program were not there.
 */
#include "steer.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct steer_key);
	__type(value, struct steer_rule);
	__uint(max_entries, STEER_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} steer_rules SEC(".maps");

/*
 * One socket for each group. Where an address has one socket for each event loop (SO_REUSEPORT) any of them will do: the kernel spreads over all after
 * a program has named one.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, STEER_GROUPS);
} steer_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct steer_counters);
	__uint(max_entries, STEER_GROUPS);
} steer_stats SEC(".maps");

/* The numbers of the groups by name, for those who write the maps: they outlive the process that chose them. The program does not read it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct steer_name);
	__type(value, __u32);
	__uint(max_entries, STEER_GROUPS);
} steer_groups SEC(".maps");

static __always_inline void key_of(const struct bpf_sk_lookup *ctx, struct steer_key *key)
{
	__u32 *addr = (__u32 *)key->addr;
	__u32 v4 = ctx->local_ip4;
	__u32 v6[4] = { ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2], ctx->local_ip6[3] };

	/* All fields are read before any is looked at: in branches clang 14 would add to the pointer first, and the verifier takes constant offsets only. */
	asm volatile("" : "+r"(v4), "+r"(v6[0]), "+r"(v6[1]), "+r"(v6[2]), "+r"(v6[3]));
	key->prefixlen = 32 + 128;
	key->protocol = ctx->protocol;
	if (ctx->family == AF_INET) {
		addr[2] = __builtin_bswap32(0xffff);
		addr[3] = v4;
		return;
	}
	addr[0] = v6[0];
	addr[1] = v6[1];
	addr[2] = v6[2];
	addr[3] = v6[3];
}

SEC("sk_lookup")
int sk_steer(struct bpf_sk_lookup *ctx)
{
	struct steer_key key = {};
	struct steer_counters *stats;
	struct steer_rule *rule;
	__u32 port = ctx->local_port;
	struct bpf_sock *sk;
	__u32 group = STEER_GROUPS;

	key_of(ctx, &key);
	rule = bpf_map_lookup_elem(&steer_rules, &key);
	if (!rule)
		return SK_PASS;
#pragma unroll
	for (int i = 0; i < STEER_RANGES; i++) {
		const struct steer_range *r = &rule->ranges[i];

		if (i >= rule->count)
			break;
		if (port >= r->lo && port <= r->hi) {
			group = r->group;
			break;
		}
	}
	stats = bpf_map_lookup_elem(&steer_stats, &group);
	if (!stats)
		return SK_PASS; /* no range is for the port */
	sk = bpf_map_lookup_elem(&steer_sockets, &group);
	if (!sk) {
		stats->unserved++;
		return SK_PASS;
	}
	/* This fails for a socket of another family or protocol, which is as good as none. */
	if (bpf_sk_assign(ctx, sk, 0) == 0)
		stats->steered++;
	else
		stats->unserved++;
	bpf_sk_release(sk);
	return SK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
