// Package listen is the one place where listening sockets are made, so that there is one place to hand them over from.
package listen

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// backlog is the accept queue of each socket; the kernel caps it at net.core.somaxconn.
const backlog = 4096

// Shards opens n TCP listeners of one address, for n event loops. With more than one the kernel spreads connections over them (SO_REUSEPORT, Linux 3.9). addr is
// "host:port"; an empty host means all addresses, IPv4 and IPv6. Port 0 takes a free port, the same for all.
//
// The sockets are non-blocking and TCP_NODELAY, which accepted connections inherit. Multipath TCP is off.
func Shards(addr string, n int) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			files = nil
		}
	}()
	if err := free(addr); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) {
			if serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); serr != nil {
				return
			}
			serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		})
		if err != nil {
			return err
		}
		return serr
	}}
	lc.SetMultipathTCP(false)
	for i := 0; i < n; i++ {
		ln, err := lc.Listen(context.Background(), "tcp", addr)
		if err != nil {
			return files, fmt.Errorf("listen on %s: %w", addr, err)
		}
		addr = ln.Addr().String()
		f, err := ln.(*net.TCPListener).File()
		ln.Close()
		if err != nil {
			return files, fmt.Errorf("listen on %s: %w", addr, err)
		}
		files = append(files, f)
		// Listening again sets the queue length; net has its own idea of it.
		if err := unix.Listen(int(f.Fd()), backlog); err != nil {
			return files, fmt.Errorf("listen on %s: %w", addr, err)
		}
		if err := unix.SetNonblock(int(f.Fd()), true); err != nil {
			return files, fmt.Errorf("listen on %s: %w", addr, err)
		}
	}
	return files, nil
}

// free refuses an address that somebody listens on already: with SO_REUSEPORT another process of the same user would silently take part of
// the connections.
func free(addr string) error {
	ln, err := TCP(addr)
	if err != nil {
		return err
	}
	return ln.Close()
}

// UDP opens a UDP socket. It tells for each datagram which address it was sent to, so that the answer can come from there.
func UDP(addr string) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) {
			if serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1); serr != nil {
				return
			}
			if domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil && domain == unix.AF_INET6 {
				serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
			}
		})
		if err != nil {
			return err
		}
		return serr
	}}
	c, err := lc.ListenPacket(context.Background(), "udp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return c.(*net.UDPConn), nil
}

// TCP opens one ordinary TCP listener, for the gateway's own HTTP servers.
func TCP(addr string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return ln, nil
}
