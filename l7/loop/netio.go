package loop

import (
	"net/netip"
	"syscall"
	"time"
)

// netIO is what a loop needs of the operating system: readiness events and non-blocking transfers on raw descriptors. There is one implementation for epoll; the
// interface is the seam for another one, and for faults in tests. Transfers return an errno of 0 for success and EAGAIN when they would block.
type netIO interface {
	// add registers fd once for everything, edge-triggered; listeners are level-triggered.
	add(fd int, token uint64, listener bool) error
	// remove takes fd out again; only listeners are removed before they are closed.
	remove(fd int)
	// wait fills events. spin waits without telling the Go scheduler, which is only for very short times.
	wait(events []event, timeout time.Duration, spin bool) (int, error)
	// wake makes a wait of the loop's goroutine return; it may be called from any goroutine.
	wake()
	// woken consumes wake-ups.
	woken()
	accept(fd int) (nfd int, peer netip.AddrPort, errno syscall.Errno)
	// dial starts a connection; errno is EINPROGRESS while it goes on.
	dial(addr netip.AddrPort) (fd int, errno syscall.Errno)
	// dialed is the outcome of a connection attempt once the descriptor is writable.
	dialed(fd int) syscall.Errno
	local(fd int) netip.AddrPort
	read(fd int, p []byte) (int, syscall.Errno)
	// peek tells what a read would find without taking it: EAGAIN for nothing.
	peek(fd int) (int, syscall.Errno)
	write(fd int, p []byte) (int, syscall.Errno)
	// write2 writes p, then q.
	write2(fd int, p, q []byte) (int, syscall.Errno)
	shutdownWrite(fd int)
	// reset makes the close of fd visible to the peer as a reset.
	reset(fd int)
	close(fd int)
	destroy()
}

// event says what is new on a descriptor.
type event struct {
	token uint64
	// readable and writable are edges; eof means that the peer has finished sending, gone that the connection is dead both ways.
	readable, writable, eof, gone bool
}

// wakeToken is the token of the wake-up descriptor.
const wakeToken = ^uint64(0)
