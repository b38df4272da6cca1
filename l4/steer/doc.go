// Package steer hands connections and datagrams for whole prefixes and ranges of ports to sockets that are bound elsewhere, by a program of type sk_lookup (Linux 5.9): one listener serves
// a /16 and all its ports, and nobody binds those.
//
// The way of a packet that belongs to no connection: the kernel runs the program sk_steer, which looks for the longest prefix of the destination, then for the first range with the
// port, and names the socket of the range's group. Where the group's address has several sockets (SO_REUSEPORT), the kernel spreads over them.
//
// What can fail: no rule matches, or the group has no socket because its process is gone: then the packet takes the ordinary way, which mostly means that it is refused. The maps and the link
// are pinned, so that steering goes on when the process that wrote them is gone and another, an upgrade or a restart, takes over: it puts its own sockets in place of the old ones, which
// moves new connections at once and leaves open ones alone.
package steer
