package loop

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// epollIO is netIO over epoll and plain system calls. Transfers use RawSyscall: they never block, so the scheduler need not know of them.
type epollIO struct {
	ep, ev int
	buf    [256]unix.EpollEvent
	iov    [2]unix.Iovec
	one    [1]byte
	sa     unix.RawSockaddrAny
	salen  uint32
}

func newEpollIO() (*epollIO, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll instance: %w", err)
	}
	ev, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(ep)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	io := &epollIO{ep: ep, ev: ev}
	e := unix.EpollEvent{Events: unix.EPOLLIN}
	setToken(&e, wakeToken)
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, ev, &e); err != nil {
		io.destroy()
		return nil, fmt.Errorf("register eventfd: %w", err)
	}
	return io, nil
}

func setToken(e *unix.EpollEvent, token uint64) {
	e.Fd, e.Pad = int32(uint32(token)), int32(uint32(token>>32))
}

func token(e *unix.EpollEvent) uint64 {
	return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
}

func (io *epollIO) add(fd int, tok uint64, listener bool) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN}
	if !listener {
		e.Events = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	}
	setToken(&e, tok)
	_, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(io.ep), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func (io *epollIO) remove(fd int) { _ = unix.EpollCtl(io.ep, unix.EPOLL_CTL_DEL, fd, nil) }

func (io *epollIO) wait(events []event, timeout time.Duration, spin bool) (int, error) {
	ms := int64(-1)
	if timeout >= 0 {
		ms = int64((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	max := min(len(events), len(io.buf))
	var n uintptr
	var errno syscall.Errno
	if spin {
		n, _, errno = syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(io.ep), uintptr(unsafe.Pointer(&io.buf[0])), uintptr(max), uintptr(ms), 0, 0)
	} else {
		n, _, errno = syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(io.ep), uintptr(unsafe.Pointer(&io.buf[0])), uintptr(max), uintptr(ms), 0, 0)
	}
	if errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("wait for events: %w", errno)
	}
	for i := 0; i < int(n); i++ {
		e := &io.buf[i]
		events[i] = event{
			token:    token(e),
			readable: e.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0,
			writable: e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0,
			eof:      e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0,
			gone:     e.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0,
		}
	}
	return int(n), nil
}

func (io *epollIO) wake() {
	one := uint64(1)
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(io.ev), uintptr(unsafe.Pointer(&one)), 8)
}

func (io *epollIO) woken() {
	var n uint64
	syscall.RawSyscall(unix.SYS_READ, uintptr(io.ev), uintptr(unsafe.Pointer(&n)), 8)
}

func (io *epollIO) accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	io.salen = unix.SizeofSockaddrAny
	n, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&io.sa)), uintptr(unsafe.Pointer(&io.salen)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int(n), addrPort(&io.sa), 0
}

func (io *epollIO) local(fd int) netip.AddrPort {
	io.salen = unix.SizeofSockaddrAny
	_, _, errno := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&io.sa)), uintptr(unsafe.Pointer(&io.salen)))
	if errno != 0 {
		return netip.AddrPort{}
	}
	return addrPort(&io.sa)
}

func addrPort(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), ntohs(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), ntohs(in.Port))
	}
	return netip.AddrPort{}
}

// ntohs reads a port that the kernel stored in network order.
func ntohs(p uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&p))
	return uint16(b[0])<<8 | uint16(b[1])
}

func htons(p uint16) (n uint16) {
	b := (*[2]byte)(unsafe.Pointer(&n))
	b[0], b[1] = byte(p>>8), byte(p)
	return n
}

func (io *epollIO) dial(a netip.AddrPort) (int, syscall.Errno) {
	ip := a.Addr().Unmap()
	family, salen := unix.AF_INET, uintptr(unix.SizeofSockaddrInet4)
	var sa unsafe.Pointer
	if ip.Is4() {
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&io.sa))
		*in = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: htons(a.Port()), Addr: ip.As4()}
		sa = unsafe.Pointer(in)
	} else {
		family, salen = unix.AF_INET6, unix.SizeofSockaddrInet6
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(&io.sa))
		*in = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: htons(a.Port()), Addr: ip.As16()}
		sa = unsafe.Pointer(in)
	}
	fd, _, errno := syscall.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	one := int32(1)
	syscall.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, uintptr(unsafe.Pointer(&one)), 4, 0)
	_, _, errno = syscall.RawSyscall(unix.SYS_CONNECT, fd, uintptr(sa), salen)
	if errno != 0 && errno != unix.EINPROGRESS {
		io.close(int(fd))
		return -1, errno
	}
	return int(fd), errno
}

func (io *epollIO) dialed(fd int) syscall.Errno {
	v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return unix.EINVAL
	}
	return syscall.Errno(v)
}

func (io *epollIO) read(fd int, p []byte) (int, syscall.Errno) {
	for {
		// recvfrom and sendto spare the file layer's part of read and write, some percent of a request's CPU.
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

func (io *epollIO) peek(fd int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&io.one[0])), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func (io *epollIO) vec(p, q []byte) {
	io.iov[0].Base, io.iov[0].Len = unsafe.SliceData(p), uint64(len(p))
	io.iov[1].Base, io.iov[1].Len = unsafe.SliceData(q), uint64(len(q))
}

func (io *epollIO) write(fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

func (io *epollIO) write2(fd int, p, q []byte) (int, syscall.Errno) {
	io.vec(p, q)
	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&io.iov[0])), 2)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

func (io *epollIO) shutdownWrite(fd int) {
	syscall.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
}

func (io *epollIO) reset(fd int) {
	l := unix.Linger{Onoff: 1, Linger: 0}
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &l)
}

func (io *epollIO) close(fd int) { syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

func (io *epollIO) destroy() {
	unix.Close(io.ev)
	unix.Close(io.ep)
}
