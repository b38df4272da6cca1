//go:build ignore

/*
 * upstream is the origin server of the HTTP benchmark: one thread, epoll, fixed
 * answers. The last segment of the request path chooses the answer:
 *
 *	/1k /64k /1m	a body of that many bytes, head and body in one write
 *	/chunks		CHUNKS chunks of RECORD bytes, each written alone, PACE_NS
 *			apart; each begins with its send time (CLOCK_MONOTONIC,
 *			nanoseconds, 16 hexadecimal digits)
 *	/head		the request head as it arrived, so that the harness can see
 *			what a proxy made of it
 *	/count		"REQUESTS CONNECTIONS" served so far, this one included
 *
 * Anything else is answered 404, anything that is not a GET without a body 400.
 * It binds 127.0.0.1 on a free port and prints "port N" when it listens.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNKS 100
#define RECORD 40
#define PACE_NS 10000000LL
#define HEAD_MAX 16384
#define BACKLOG 4096

struct conn {
	int fd;
	int close_after, readable, peer_closed;
	char in[HEAD_MAX];
	size_t in_len;
	const char *out;	/* pending answer, or NULL */
	size_t out_len;
	char small[HEAD_MAX + 256];	/* answers made for one request */
	int chunks_left;		/* > 0 while a stream is running */
	int64_t due;			/* when its next chunk leaves */
	struct conn *prev, *next;	/* streams, ordered by due */
	struct conn *next_dead;
};

struct answer {
	char *bytes;
	size_t len;
};

static struct answer body_1k, body_64k, body_1m;
static struct conn streams;	/* head of the ring of running streams */
static struct conn *dead;	/* closed, freed after the batch of events */
static uint64_t requests, connections;
static int ep;

static void die(const char *what)
{
	fprintf(stderr, "upstream: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static struct answer make_body(size_t n)
{
	struct answer a;
	char head[160];
	int h = snprintf(head, sizeof(head),
			 "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
			 "Content-Length: %zu\r\n\r\n", n);

	a.len = (size_t)h + n;
	a.bytes = malloc(a.len);
	if (!a.bytes)
		die("allocate body");
	memcpy(a.bytes, head, (size_t)h);
	for (size_t i = 0; i < n; i++)
		a.bytes[(size_t)h + i] = "0123456789abcdefghijklmnopqrstuvwxyz"[i % 36];
	return a;
}

static void stream_unlink(struct conn *c)
{
	if (!c->next)
		return;
	c->prev->next = c->next;
	c->next->prev = c->prev;
	c->next = c->prev = NULL;
}

/* All streams have one pace, so a new deadline nearly always belongs at the end. */
static void stream_insert(struct conn *c)
{
	struct conn *at = streams.prev;

	while (at != &streams && at->due > c->due)
		at = at->prev;
	c->next = at->next;
	c->prev = at;
	at->next->prev = c;
	at->next = c;
}

static void drop(struct conn *c)
{
	if (c->fd < 0)
		return;
	stream_unlink(c);
	close(c->fd);
	c->fd = -1;
	c->next_dead = dead;
	dead = c;
}

/* flush returns 1 when nothing is pending, 0 when the socket is full, -1 when the connection is gone. */
static int flush(struct conn *c)
{
	while (c->out_len > 0) {
		ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);

		if (n < 0) {
			if (errno == EAGAIN)
				return 0;
			drop(c);
			return -1;
		}
		c->out += n;
		c->out_len -= (size_t)n;
	}
	c->out = NULL;
	if (c->close_after && c->chunks_left == 0) {
		drop(c);
		return -1;
	}
	return 1;
}

static int reply_small(struct conn *c, const char *status, const char *body, size_t len)
{
	int h = snprintf(c->small, sizeof(c->small),
			 "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n",
			 status, len);

	memcpy(c->small + h, body, len);
	c->out = c->small;
	c->out_len = (size_t)h + len;
	return flush(c);
}

/* send_chunk writes one chunk; a stream that its reader does not drain is dropped, which fails the run. */
static int send_chunk(struct conn *c, int64_t now)
{
	char buf[RECORD + 16];
	int n = snprintf(buf, sizeof(buf), "%x\r\n%016llx%-*s\r\n", RECORD,
			 (unsigned long long)now, RECORD - 16, " event");

	c->chunks_left--;
	if (c->chunks_left == 0) {
		memcpy(buf + n, "0\r\n\r\n", 5);
		n += 5;
	}
	if (send(c->fd, buf, (size_t)n, MSG_NOSIGNAL) != n) {
		drop(c);
		return -1;
	}
	return 0;
}

static int start_stream(struct conn *c)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
				   "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";

	if (send(c->fd, head, sizeof(head) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(head) - 1) {
		drop(c);
		return -1;
	}
	c->chunks_left = CHUNKS;
	c->due = now_ns() + PACE_NS;
	stream_insert(c);
	return 0;
}

static int ends_with(const char *s, size_t n, const char *suffix)
{
	size_t m = strlen(suffix);

	return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

/* answer serves the head c->in[0..len). It returns 1 to go on with the next request, 0 to wait, -1 when closed. */
static int answer(struct conn *c, size_t len)
{
	char *target = c->in + 4, *end, text[64];
	const struct answer *a = NULL;
	size_t n;

	c->in[len - 1] = '\0';	/* the last line feed: string searches below stop there */
	if (memcmp(c->in, "GET ", 4) != 0 || !(end = strchr(target, ' ')) ||
	    strcasestr(end, "\ncontent-length:") || strcasestr(end, "\ntransfer-encoding:")) {
		c->close_after = 1;
		return reply_small(c, "400 Bad Request", "", 0);
	}
	n = (size_t)(end - target);
	requests++;
	if (strncmp(end, " HTTP/1.1", 9) != 0 || strcasestr(end, "\nconnection: close"))
		c->close_after = 1;

	if (ends_with(target, n, "/1k"))
		a = &body_1k;
	else if (ends_with(target, n, "/64k"))
		a = &body_64k;
	else if (ends_with(target, n, "/1m"))
		a = &body_1m;
	if (a) {
		c->out = a->bytes;
		c->out_len = a->len;
		return flush(c);
	}
	if (ends_with(target, n, "/chunks"))
		return start_stream(c);
	if (ends_with(target, n, "/head"))
		return reply_small(c, "200 OK", c->in, len - 1);
	if (ends_with(target, n, "/count")) {
		int t = snprintf(text, sizeof(text), "%llu %llu\n", (unsigned long long)requests,
				 (unsigned long long)connections);
		return reply_small(c, "200 OK", text, (size_t)t);
	}
	return reply_small(c, "404 Not Found", "", 0);
}

/* serve answers the requests that have arrived, in order, until one of them has to wait or all is read. */
static void serve(struct conn *c)
{
	for (;;) {
		char *end;
		size_t room;
		ssize_t n;

		while (c->out_len == 0 && c->chunks_left == 0 &&
		       (end = memmem(c->in, c->in_len, "\r\n\r\n", 4))) {
			size_t len = (size_t)(end - c->in) + 4;

			if (answer(c, len) < 0)
				return;
			c->in_len -= len;
			memmove(c->in, c->in + len, c->in_len);
		}
		if (c->out_len > 0 || c->chunks_left > 0 || !c->readable)
			return;

		room = sizeof(c->in) - c->in_len;
		if (room == 0) {
			drop(c);
			return;
		}
		n = recv(c->fd, c->in + c->in_len, room, 0);
		if (n < 0 && errno == EAGAIN) {
			c->readable = 0;
			return;
		}
		if (n <= 0) {
			drop(c);
			return;
		}
		c->in_len += (size_t)n;
		/* A short read drained the socket, but after RDHUP the end of file is still to be read. */
		if ((size_t)n < room && !c->peer_closed)
			c->readable = 0;
	}
}

static void accept_all(int lfd)
{
	for (;;) {
		int fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
		struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
		struct conn *c;

		if (fd < 0)
			return;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c = calloc(1, sizeof(*c));
		if (!c)
			die("allocate connection");
		c->fd = fd;
		ev.data.ptr = c;
		if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
			die("watch connection");
		connections++;
	}
}

/* run_streams sends the chunks that are due and returns the wait until the next one, or -1. */
static int64_t run_streams(void)
{
	while (streams.next != &streams) {
		struct conn *c = streams.next;
		int64_t now = now_ns();

		if (c->due > now)
			return c->due - now;
		stream_unlink(c);
		c->due += PACE_NS;
		if (send_chunk(c, now) < 0)
			continue;
		if (c->chunks_left > 0) {
			stream_insert(c);
			continue;
		}
		if (c->close_after)
			drop(c);
		else
			serve(c);
	}
	return -1;
}

int main(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t addr_len = sizeof(addr);
	struct epoll_event events[256], ev = { .events = EPOLLIN };
	int lfd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	body_1k = make_body(1 << 10);
	body_64k = make_body(1 << 16);
	body_1m = make_body(1 << 20);
	streams.next = streams.prev = &streams;

	if (lfd < 0 || bind(lfd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(lfd, BACKLOG) < 0)
		die("listen");
	getsockname(lfd, (struct sockaddr *)&addr, &addr_len);
	ep = epoll_create1(EPOLL_CLOEXEC);
	ev.data.ptr = NULL;
	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &ev) < 0)
		die("watch listener");
	printf("port %d\n", ntohs(addr.sin_port));
	fflush(stdout);

	for (;;) {
		int64_t wait = run_streams();
		struct timespec ts = { .tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000 };
		int n = epoll_pwait2(ep, events, 256, wait < 0 ? NULL : &ts, NULL);

		if (n < 0 && errno != EINTR)
			die("wait");
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (!c) {
				accept_all(lfd);
				continue;
			}
			if (c->fd < 0)
				continue;
			if (events[i].events & (EPOLLERR | EPOLLHUP)) {
				drop(c);
				continue;
			}
			if (events[i].events & (EPOLLIN | EPOLLRDHUP))
				c->readable = 1;
			if (events[i].events & EPOLLRDHUP)
				c->peer_closed = 1;
			if (c->out_len == 0 || flush(c) > 0)
				serve(c);
		}
		while (dead) {
			struct conn *c = dead;

			dead = c->next_dead;
			free(c);
		}
	}
}
