package userspace

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// BenchmarkUDPForward sends bursts of 64 small datagrams of one client to a node that answers each burst once. cpu-ns/op is what a datagram costs in all: the client's and the
// node's share, which use batches, is in it.
func BenchmarkUDPForward(b *testing.B) {
	const burst = 4 * batchSize
	node, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		rc := rawConn(node)
		r := newReceiver(rc)
		for got := 0; ; {
			in, err := r.receive()
			if err != nil {
				return
			}
			if got += in.n; got >= burst {
				got = 0
				back := in.origin(0)
				_, _ = in.send(rc, 0, 1, &back)
			}
			in.release()
		}
	}()
	defer func() { node.Close(); <-done }()
	g := start(b, Options{}, nil, to(node.LocalAddr().String()))
	c := dialUDP(b, g.udp)
	_ = c.SetDeadline(time.Now().Add(10 * time.Minute))
	rc, out, ack := rawConn(c), newBatch(), make([]byte, 64)
	for i := range out.heads {
		out.heads[i].n = 64
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	for range b.N/burst + 1 {
		for range burst / batchSize {
			if _, err := out.send(rc, 0, batchSize, nil); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := c.Read(ack); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpu is the processor time that the process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkUDPEcho has one datagram on its way at a time.
func BenchmarkUDPEcho(b *testing.B) {
	g := start(b, Options{}, nil, to(serveUDP(b, "a")))
	c := dialUDP(b, g.udp)
	_ = c.SetDeadline(time.Now().Add(10 * time.Minute))
	out, in := make([]byte, 64), make([]byte, 128)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	for range b.N {
		if _, err := c.Write(out); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}
