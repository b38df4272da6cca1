//go:build ignore

/*
 * load is the load generator of the HTTP benchmark: one thread, epoll, closed loop.
 *
 *	load -p PORT -u TARGET -l LENGTH [-m keep|new|stream] [-r ROUTES] [-c CONNS]
 *	     [-t SECONDS] [-w WARMUP] [-H 'Name: value']
 *
 * Every answer must have status 200 and a body of exactly LENGTH bytes, framed by
 * Content-Length or by chunks; anything else, and any socket error, ends the run
 * with exit code 1 and one line on standard error.
 *
 *	keep	one request after another on CONNS connections
 *	new	one request per connection, CONNS at a time; the client closes
 *	stream	as keep, but only as many answers per connection as fit into SECONDS
 *		at one second each; the body is made of 40-byte records that begin
 *		with their send time, as upstream.c writes them
 *
 * A %d in TARGET stands for a route number; -r says how many there are, and the
 * requests walk through all of them.
 *
 * After the warm-up all connections are idle; load prints "ready" and waits for a
 * line on standard input. It stops asking after SECONDS, takes the answers that are
 * still due, and prints one line of JSON. So whoever reads the CPU time of the proxy
 * between the two lines sees the cost of exactly the requests that are reported.
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

#define READ_BUF (256 * 1024)
#define HEAD_MAX 8192
#define RECORD 40
#define MAX_SAMPLES (1 << 21)
#define STALL_MS 10000
#define SOURCES 64	/* client addresses in mode new: each has its own range of ports */

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum mode { KEEP, NEW, STREAM };
enum state { IDLE, CONNECTING, HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

struct conn {
	int fd;
	enum state state;
	int answers;		/* asked for in this phase */
	int close_after;	/* the proxy announced that it closes */
	int64_t start_at;	/* stream mode: when this connection asks first */
	char head[HEAD_MAX];	/* a head that came in pieces */
	size_t head_len;
	uint64_t left;		/* of the body or of the chunk */
	uint64_t body;		/* bytes of body seen */
	char record[RECORD];
	size_t record_len;
	int line_len;		/* of a chunk size or trailer line */
	int size_ended;		/* in a chunk extension */
};

static struct sockaddr_in proxy = { .sin_family = AF_INET };
static enum mode mode = KEEP;
static char **wire;		/* one request per route */
static size_t *wire_len;
static int routes = 1, next_route;
static uint64_t want_length;
static struct conn *conns;
static int conn_count = 64, source;
static int ep;
static char buf[READ_BUF];

static int64_t stop_at;		/* no request is sent after this time */
static int max_answers;		/* per connection and phase; 0: no limit */
static int busy;		/* connections that wait for something */
static uint64_t requests, body_bytes, reads, reconnects;
static uint32_t *samples;
static size_t sample_count;

static void fail(const char *fmt, uint64_t a, uint64_t b)
{
	fprintf(stderr, fmt, (unsigned long long)a, (unsigned long long)b);
	fprintf(stderr, " (after %llu answers)\n", (unsigned long long)requests);
	exit(1);
}

static void die(const char *what)
{
	fprintf(stderr, "%s: %s (after %llu answers)\n", what, strerror(errno), (unsigned long long)requests);
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void open_conn(struct conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("open socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (mode == NEW) {
		struct sockaddr_in from = { .sin_family = AF_INET };

		from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 256 + (uint32_t)(source++ % SOURCES));
		setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(c->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
			die("bind source address");
	}
	if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		die("watch connection");
	if (connect(c->fd, (struct sockaddr *)&proxy, sizeof(proxy)) < 0 && errno != EINPROGRESS)
		die("connect");
	c->state = CONNECTING;
}

static void ask(struct conn *c)
{
	int r = next_route;

	/* A step coprime to the usual route counts: neighbours in time are no neighbours in the table. */
	next_route = (next_route + 617) % routes;
	c->state = HEAD;
	c->head_len = 0;
	c->body = 0;
	c->record_len = 0;
	c->close_after = 0;
	if (send(c->fd, wire[r], wire_len[r], MSG_NOSIGNAL) != (ssize_t)wire_len[r])
		die("send request");
}

/* next starts the next exchange of an idle connection, or leaves it idle when the phase is over. */
static void next(struct conn *c)
{
	if (now_ns() >= stop_at || (max_answers > 0 && c->answers >= max_answers)) {
		c->state = IDLE;
		busy--;
		return;
	}
	c->answers++;
	if (c->fd < 0)
		open_conn(c);
	else
		ask(c);
}

static void shut(struct conn *c)
{
	close(c->fd);
	c->fd = -1;
}

static void finish(struct conn *c)
{
	if (c->body != want_length)
		fail("body of %llu bytes, expected %llu", c->body, want_length);
	if (mode == STREAM && c->record_len != 0)
		fail("stream ended inside a record, %llu bytes (of %llu)", c->record_len, RECORD);
	requests++;
	body_bytes += c->body;
	if (mode == NEW) {
		shut(c);
	} else if (c->close_after) {
		reconnects++;
		shut(c);
	}
	c->state = IDLE;
}

/* header returns the value of a header of the head in c->head, or NULL. */
static const char *header(const char *head, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
			line += n + 1;
			while (*line == ' ')
				line++;
			return line;
		}
	}
	return NULL;
}

static void parse_head(struct conn *c, char *head, size_t len)
{
	const char *v;
	char saved = head[len - 1];

	head[len - 1] = '\0';
	if (strncmp(head, "HTTP/1.1 200", 12) != 0)
		fail(strncmp(head, "HTTP/1.", 7) == 0 ? "status %llu" : "no HTTP answer",
		     (uint64_t)atoi(head + 9), 0);
	if ((v = header(head, "Connection")) && strncasecmp(v, "close", 5) == 0)
		c->close_after = 1;
	if ((v = header(head, "Transfer-Encoding"))) {
		if (strncasecmp(v, "chunked\r", 8) != 0 || header(head, "Content-Length"))
			fail("answer with an unexpected framing", 0, 0);
		c->state = CHUNK_SIZE;
		c->left = 0;
		c->line_len = c->size_ended = 0;
	} else {
		if (!(v = header(head, "Content-Length")))
			fail("answer without a length", 0, 0);
		c->left = strtoull(v, NULL, 10);
		if (c->left != want_length)
			fail("content length %llu, expected %llu", c->left, want_length);
		c->state = BODY;
	}
	head[len - 1] = saved;
}

/* payload takes n bytes of body; in stream mode it notes the delay of every record that is complete. */
static void payload(struct conn *c, const char *p, size_t n)
{
	c->body += n;
	if (mode != STREAM)
		return;
	while (n > 0) {
		size_t take = RECORD - c->record_len < n ? RECORD - c->record_len : n;

		memcpy(c->record + c->record_len, p, take);
		c->record_len += take;
		p += take;
		n -= take;
		if (c->record_len < RECORD)
			return;
		c->record_len = 0;

		char stamp[17];

		memcpy(stamp, c->record, 16);
		stamp[16] = '\0';
		int64_t delay = now_ns() - (int64_t)strtoull(stamp, NULL, 16);

		if (delay < 0 || delay > 60000000000LL)
			fail("record with a wrong time stamp", 0, 0);
		if (sample_count < MAX_SAMPLES)
			samples[sample_count++] = (uint32_t)(delay / 1000);
	}
}

static int hex(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch |= 0x20;
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* take_in runs the bytes of one read through the answer's framing. */
static void take_in(struct conn *c, char *p, size_t n)
{
	while (n > 0) {
		switch (c->state) {
		case HEAD: {
			char *end;
			size_t len;

			if (c->head_len == 0 && (end = memmem(p, n, "\r\n\r\n", 4))) {
				len = (size_t)(end - p) + 4;
				parse_head(c, p, len);
				p += len;
				n -= len;
				break;
			}
			/* The head came in pieces: collect it, at most one byte past its end is never needed. */
			if (c->head_len == HEAD_MAX)
				fail("answer head too long", 0, 0);
			c->head[c->head_len++] = *p++;
			n--;
			if (c->head_len >= 4 && memcmp(c->head + c->head_len - 4, "\r\n\r\n", 4) == 0)
				parse_head(c, c->head, c->head_len);
			break;
		}
		case BODY: {
			size_t take = c->left < n ? (size_t)c->left : n;

			payload(c, p, take);
			c->left -= take;
			p += take;
			n -= take;
			break;
		}
		case CHUNK_SIZE:
			if (*p == '\n') {
				if (c->line_len == 0)
					fail("empty chunk size", 0, 0);
				c->state = c->left > 0 ? CHUNK_DATA : TRAILER;
				c->line_len = c->size_ended = 0;
			} else if (*p == ';' || *p == '\r' || c->size_ended) {
				c->size_ended = 1;
			} else if (hex(*p) < 0 || c->line_len++ > 8) {
				fail("bad chunk size", 0, 0);
			} else {
				c->left = c->left * 16 + (uint64_t)hex(*p);
			}
			p++;
			n--;
			break;
		case CHUNK_DATA: {
			size_t take = c->left < n ? (size_t)c->left : n;

			payload(c, p, take);
			c->left -= take;
			p += take;
			n -= take;
			if (c->left == 0)
				c->state = CHUNK_END;
			break;
		}
		case CHUNK_END:
			if (*p == '\n')
				c->state = CHUNK_SIZE;
			else if (*p != '\r')
				fail("chunk longer than its size", 0, 0);
			p++;
			n--;
			break;
		case TRAILER:
			if (*p == '\n') {
				if (c->line_len == 0) {
					finish(c);
					if (n > 1)
						fail("%llu bytes after the answer", n - 1, 0);
					return;
				}
				c->line_len = 0;
			} else if (*p != '\r') {
				c->line_len++;
			}
			p++;
			n--;
			break;
		default:
			fail("%llu bytes that nobody asked for", n, 0);
		}
		if (c->state == BODY && c->left == 0) {
			finish(c);
			if (n > 0)
				fail("%llu bytes after the answer", n, 0);
			return;
		}
	}
}

static void on_event(struct conn *c, uint32_t events)
{
	int peer_closed = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;

	if (c->fd < 0)
		return;
	if (c->state == CONNECTING) {
		int err = 0;
		socklen_t len = sizeof(err);

		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
		if (err) {
			errno = err;
			die("connect");
		}
		if (!(events & EPOLLOUT))
			return;
		ask(c);
		if (!(events & EPOLLIN))
			return;
	}
	while (c->fd >= 0 && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
		/* The bytes of a large body are counted, not copied. */
		int discard = c->state == BODY && mode != STREAM && c->left > sizeof(buf) / 4;
		size_t room = discard && c->left < (1 << 20) ? (size_t)c->left : discard ? 1 << 20 : sizeof(buf);
		ssize_t n = recv(c->fd, discard ? NULL : buf, room, discard ? MSG_TRUNC : 0);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die("receive answer");
		if (n == 0) {
			if (c->state != IDLE)
				fail("connection closed inside an answer", 0, 0);
			reconnects++;
			shut(c);
			return;
		}
		reads++;
		if (discard) {
			c->left -= (uint64_t)n;
			c->body += (uint64_t)n;
			if (c->left == 0)
				finish(c);
		} else {
			take_in(c, buf, (size_t)n);
		}
		if (c->state == IDLE) {
			next(c);
			if (c->state == CONNECTING)
				return;
		}
		/* A short read drained the socket, but the end of file is still to be read. */
		if ((size_t)n < room && !peer_closed)
			return;
	}
}

/* run_phase asks for `seconds` and returns when every connection is idle again. It returns the time it took. */
static int64_t run_phase(double seconds, int answers)
{
	struct epoll_event events[256];
	int64_t start = now_ns(), pace = 10000000;
	int started = 0;

	stop_at = start + (int64_t)(seconds * 1e9);
	max_answers = answers;
	busy = conn_count;
	for (int i = 0; i < conn_count; i++) {
		conns[i].answers = 0;
		/* Streams have one pace; spread over it they do not all write at the same instant. */
		conns[i].start_at = mode == STREAM ? start + pace * i / conn_count : start;
	}
	while (busy > 0) {
		int timeout = STALL_MS;

		while (started < conn_count && conns[started].start_at <= now_ns())
			next(&conns[started++]);
		if (started < conn_count)
			timeout = 0;
		if (busy == 0)
			break;

		int n = epoll_wait(ep, events, 256, timeout);

		if (n < 0 && errno != EINTR)
			die("wait");
		if (n == 0 && started == conn_count)
			fail("no answer for %llu ms", STALL_MS, 0);
		for (int i = 0; i < n; i++)
			on_event(events[i].data.ptr, events[i].events);
	}
	return now_ns() - start;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t percentile(double p)
{
	if (sample_count == 0)
		return 0;
	return samples[(size_t)((double)(sample_count - 1) * p)];
}

static void build_requests(const char *target, const char *extra)
{
	wire = calloc((size_t)routes, sizeof(*wire));
	wire_len = calloc((size_t)routes, sizeof(*wire_len));
	if (!wire || !wire_len)
		die("allocate requests");
	for (int i = 0; i < routes; i++) {
		const char *mark = strstr(target, "%d");
		int before = mark ? (int)(mark - target) : (int)strlen(target);
		char number[16] = "";

		if (mark)
			snprintf(number, sizeof(number), "%d", i);
		int n = asprintf(&wire[i],
				 "GET %.*s%s%s HTTP/1.1\r\nHost: bench.test\r\n"
				 "User-Agent: sluice-bench\r\nAccept: */*\r\n%s%s\r\n",
				 before, target, number, mark ? mark + 2 : "", extra, *extra ? "\r\n" : "");
		if (n < 0)
			die("build request");
		wire_len[i] = (size_t)n;
	}
}

int main(int argc, char **argv)
{
	const char *target = NULL, *extra = "";
	double seconds = 2, warmup = 0.3;
	int opt, port = 0;
	char line[16];

	while ((opt = getopt(argc, argv, "p:u:l:m:r:c:t:w:H:")) != -1) {
		switch (opt) {
		case 'p': port = atoi(optarg); break;
		case 'u': target = optarg; break;
		case 'l': want_length = strtoull(optarg, NULL, 10); break;
		case 'm': mode = *optarg == 'n' ? NEW : *optarg == 's' ? STREAM : KEEP; break;
		case 'r': routes = atoi(optarg); break;
		case 'c': conn_count = atoi(optarg); break;
		case 't': seconds = atof(optarg); break;
		case 'w': warmup = atof(optarg); break;
		case 'H': extra = optarg; break;
		default: return 2;
		}
	}
	if (port <= 0 || !target || routes <= 0 || conn_count <= 0) {
		fprintf(stderr, "usage: load -p PORT -u TARGET -l LENGTH [options]\n");
		return 2;
	}
	proxy.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	proxy.sin_port = htons((unsigned short)port);
	build_requests(target, extra);
	conns = calloc((size_t)conn_count, sizeof(*conns));
	samples = malloc(MAX_SAMPLES * sizeof(*samples));
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (!conns || !samples || ep < 0)
		die("set up");
	for (int i = 0; i < conn_count; i++)
		conns[i].fd = -1;

	run_phase(warmup, mode == STREAM ? 1 : 0);
	requests = body_bytes = reads = reconnects = 0;
	sample_count = 0;

	printf("ready\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;

	int per_conn = mode == STREAM ? (seconds < 1.5 ? 1 : (int)(seconds + 0.5)) : 0;
	/* In stream mode the count of answers ends the phase, not the clock. */
	int64_t took = run_phase(mode == STREAM ? 3600 : seconds, per_conn);

	qsort(samples, sample_count, sizeof(*samples), by_value);
	printf("{\"requests\":%llu,\"body_bytes\":%llu,\"reads\":%llu,\"reconnects\":%llu,"
	       "\"seconds\":%.6f,\"records\":%zu,\"p50_us\":%u,\"p99_us\":%u}\n",
	       (unsigned long long)requests, (unsigned long long)body_bytes, (unsigned long long)reads,
	       (unsigned long long)reconnects, (double)took / 1e9, sample_count, percentile(0.50),
	       percentile(0.99));
	return 0;
}
