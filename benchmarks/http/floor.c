//go:build ignore

/*
 * floor is the proxy that does nothing: bytes from the client go to the upstream
 * and back, four system calls per request, no parsing. It is the lower bound for a
 * proxy that reads and writes sockets; no real proxy can be far below it.
 *
 *	floor UPSTREAM_PORT
 *
 * Each client connection is paired with one upstream connection, taken from a pool
 * of idle ones and given back when the client leaves, so that the cost of short
 * client connections holds no upstream handshake, as for the real proxies. It binds
 * 127.0.0.1 on a free port and prints "port N" when it listens.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUF (256 * 1024)
#define BACKLOG 4096

struct side {
	int fd;
	int client;
	int readable, peer_closed;
	int awaiting;		/* client side: a request is out, no answer byte seen */
	struct side *peer;	/* NULL for an upstream connection in the pool */
	char *pending;		/* bytes the socket did not take yet, BUF large */
	size_t pending_off, pending_len;
	struct side *next;	/* in the pool or in the list of the dead */
};

static struct sockaddr_in upstream = { .sin_family = AF_INET };
static struct side *pool, *dead;
static char buf[BUF];
static int ep;

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct side *watch(int fd)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
	struct side *s = calloc(1, sizeof(*s));
	int one = 1;

	if (!s)
		die("allocate connection");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	s->fd = fd;
	ev.data.ptr = s;
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("watch connection");
	return s;
}

static void drop(struct side *s)
{
	if (s->fd < 0)
		return;
	close(s->fd);
	s->fd = -1;
	free(s->pending);
	s->pending = NULL;
	s->next = dead;
	dead = s;
}

static void drop_pair(struct side *s)
{
	if (s->peer)
		drop(s->peer);
	drop(s);
}

static void leave_pool(struct side *s)
{
	for (struct side **p = &pool; *p; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;
			break;
		}
	}
	drop(s);
}

static struct side *take_upstream(void)
{
	struct side *s = pool;
	int fd;

	if (s) {
		pool = s->next;
		return s;
	}
	/* A blocking connect on loopback returns at once or refuses. */
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	if (connect(fd, (struct sockaddr *)&upstream, sizeof(upstream)) < 0) {
		close(fd);
		return NULL;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return watch(fd);
}

/* put writes n bytes to s and keeps what the socket does not take. It returns -1 when s is gone. */
static int put(struct side *s, const char *bytes, size_t n)
{
	ssize_t w = send(s->fd, bytes, n, MSG_NOSIGNAL);

	if (w < 0) {
		if (errno != EAGAIN)
			return -1;
		w = 0;
	}
	if ((size_t)w == n)
		return 0;
	if (!s->pending && !(s->pending = malloc(BUF)))
		die("allocate pending bytes");
	s->pending_off = 0;
	s->pending_len = n - (size_t)w;
	memcpy(s->pending, bytes + w, s->pending_len);
	return 0;
}

static int flush(struct side *s)
{
	while (s->pending_len > 0) {
		ssize_t w = send(s->fd, s->pending + s->pending_off, s->pending_len, MSG_NOSIGNAL);

		if (w < 0)
			return errno == EAGAIN ? 0 : -1;
		s->pending_off += (size_t)w;
		s->pending_len -= (size_t)w;
	}
	return 0;
}

/* client_left ends a client connection; an upstream connection that owes no answer goes back to the pool. */
static void client_left(struct side *client)
{
	struct side *up = client->peer;

	if (client->awaiting || client->pending_len > 0 || up->pending_len > 0 || up->readable || up->peer_closed) {
		drop_pair(client);
		return;
	}
	up->peer = NULL;
	up->next = pool;
	pool = up;
	drop(client);
}

/* pump moves what src has to its peer, until src is drained or the peer is full. */
static void pump(struct side *src)
{
	while (src->readable && src->peer->pending_len == 0) {
		ssize_t n = recv(src->fd, buf, BUF, 0);

		if (n < 0 && errno == EAGAIN) {
			src->readable = 0;
			return;
		}
		if (n == 0 && src->client) {
			client_left(src);
			return;
		}
		if (n <= 0) {
			drop_pair(src);
			return;
		}
		/* A short read drained the socket, but after RDHUP the end of file is still to be read. */
		if (n < BUF && !src->peer_closed)
			src->readable = 0;
		if (src->client)
			src->awaiting = 1;
		else
			src->peer->awaiting = 0;
		if (put(src->peer, buf, (size_t)n) < 0) {
			drop_pair(src);
			return;
		}
	}
}

static void accept_all(int lfd)
{
	for (;;) {
		int fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct side *c, *u;

		if (fd < 0)
			return;
		u = take_upstream();
		if (!u) {
			close(fd);
			continue;
		}
		c = watch(fd);
		c->client = 1;
		c->peer = u;
		u->peer = c;
	}
}

static void handle(struct side *s, unsigned int events)
{
	if (events & EPOLLRDHUP)
		s->peer_closed = 1;
	if (events & (EPOLLIN | EPOLLRDHUP))
		s->readable = 1;
	if (!s->peer) {
		/* In the pool: only the first OUT edge of a new socket may pass, anything else ends it. */
		if (events & ~EPOLLOUT)
			leave_pool(s);
		return;
	}
	if (events & (EPOLLERR | EPOLLHUP)) {
		drop_pair(s);
		return;
	}
	if (s->pending_len > 0) {
		if (flush(s) < 0) {
			drop_pair(s);
			return;
		}
		if (s->pending_len == 0)
			pump(s->peer);
	}
	if (s->fd >= 0 && s->peer && s->readable)
		pump(s);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t addr_len = sizeof(addr);
	struct epoll_event events[256], ev = { .events = EPOLLIN };
	int lfd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (argc != 2) {
		fprintf(stderr, "usage: floor UPSTREAM_PORT\n");
		return 2;
	}
	upstream.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	upstream.sin_port = htons((unsigned short)atoi(argv[1]));

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
		int n = epoll_wait(ep, events, 256, -1);

		if (n < 0 && errno != EINTR)
			die("wait");
		for (int i = 0; i < n; i++) {
			struct side *s = events[i].data.ptr;

			if (!s)
				accept_all(lfd);
			else if (s->fd >= 0)
				handle(s, events[i].events);
		}
		while (dead) {
			struct side *s = dead;

			dead = s->next;
			free(s);
		}
	}
}
