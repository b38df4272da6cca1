package steer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lab is a network namespace of its own, in which 198.51.0.0/16 and 2001:db8::/32 are addresses of the host, and a folder for pins. The test's goroutine is in it; others enter by run.
type lab struct {
	t   *testing.T
	ns  *os.File
	dir string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces and BPF need root")
	}
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Skipf("mount a BPF file system (needs CAP_SYS_ADMIN): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine, and the namespace with its last user
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	for _, args := range []string{"link set lo up", "route add local 198.51.0.0/16 dev lo", "-6 route add local 2001:db8::/32 dev lo"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	return &lab{t, ns, filepath.Join(dir, "sluice")}
}

// run runs f on a goroutine in the namespace.
func (l *lab) run(f func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Setns(int(l.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			l.t.Error(err)
			return
		}
		f()
	}()
	return done
}

func (l *lab) open() *Steerer {
	l.t.Helper()
	s, err := Open(l.dir)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { s.Close() })
	return s
}

// listen serves on a free port of loopback: each connection gets name and what it sends, a line of each.
func (l *lab) listen(network, addr, name string) *net.TCPListener {
	l.t.Helper()
	ln := listenPlain(l.t, network, addr)
	l.t.Cleanup(func() { ln.Close() })
	go answer(ln, name)
	return ln
}

func listenPlain(t testing.TB, network, addr string) *net.TCPListener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln.(*net.TCPListener)
}

func answer(ln net.Listener, name string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			line, err := bufio.NewReader(c).ReadString('\n')
			if err == nil {
				fmt.Fprintf(c, "%s %s", name, line)
			}
		}()
	}
}

// ask connects to an address and returns the name of who answers.
func ask(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	what := c.LocalAddr().String()
	fmt.Fprintln(c, what)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "", err
	}
	name, echo, _ := strings.Cut(strings.TrimSpace(line), " ")
	if echo != what {
		return "", fmt.Errorf("sent %q, got %q back", what, echo)
	}
	return name, nil
}

func mustPut(t *testing.T, s *Steerer, rules ...Rule) {
	t.Helper()
	if err := s.Put(rules); err != nil {
		t.Fatal(err)
	}
}

func mustSet(t *testing.T, s *Steerer, group string, c syscall.Conn) {
	t.Helper()
	if err := s.SetSocket(group, c); err != nil {
		t.Fatal(err)
	}
}

// TestWholePrefix tests that one listener serves a /16 and all its ports, and nothing else.
func TestWholePrefix(t *testing.T) {
	l := newLab(t)
	s := l.open()
	mustSet(t, s, "http", l.listen("tcp4", "127.0.0.1:0", "four"))
	mustSet(t, s, "http6", l.listen("tcp6", "[::1]:0", "six"))
	mustPut(t, s, rule(TCP, "198.51.0.0/16", 1, 65535, "http"), rule(TCP, "198.51.100.7/32", 25, 25, "none"), rule(TCP, "2001:db8::/32", 80, 90, "http6"))
	for _, tt := range []struct{ addr, want string }{
		{"198.51.0.1:1", "four"}, {"198.51.0.1:80", "four"}, {"198.51.255.254:65535", "four"}, {"198.51.100.7:443", "four"},
		{"[2001:db8::1]:80", "six"}, {"[2001:db8:ffff::9]:90", "six"},
		{"[2001:db8::1]:91", ""}, {"127.0.0.1:80", ""}, {"198.51.100.7:25", ""},
	} {
		got, err := ask(tt.addr)
		if got != tt.want || tt.want == "" && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %q, %v, want %q", tt.addr, got, err, tt.want)
		}
	}
	counts, err := s.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if counts["http"].Steered != 4 || counts["http6"].Steered != 2 || counts["none"].Unserved == 0 {
		t.Errorf("counters %+v", counts)
	}
	mustPut(t, s)
	if _, err := ask("198.51.0.1:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without rules: %v", err)
	}
}

func TestUDP(t *testing.T) {
	l := newLab(t)
	s := l.open()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mustSet(t, s, "dns", c)
	mustPut(t, s, rule(UDP, "198.51.0.0/16", 53, 53, "dns"))
	out, err := net.Dial("udp", "198.51.7.7:53")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	fmt.Fprint(out, "query")
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 16)
	if n, _, err := c.ReadFromUDPAddrPort(b); err != nil || string(b[:n]) != "query" {
		t.Errorf("got %q, %v", b[:n], err)
	}
}

// TestReuseport tests that connections spread over the sockets of one address when one of them is named.
func TestReuseport(t *testing.T) {
	l := newLab(t)
	s := l.open()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	}}
	lc.SetMultipathTCP(false)
	addr := "127.0.0.1:0"
	for i := range 4 {
		ln, err := lc.Listen(t.Context(), "tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		addr = ln.Addr().String()
		go answer(ln, fmt.Sprint(i))
		if i == 0 {
			mustSet(t, s, "g", ln.(*net.TCPListener))
		}
	}
	mustPut(t, s, rule(TCP, "198.51.0.0/16", 1, 65535, "g"))
	seen := map[string]int{}
	for i := range 200 {
		name, err := ask(fmt.Sprintf("198.51.3.4:%d", 1000+i))
		if err != nil {
			t.Fatal(err)
		}
		seen[name]++
	}
	if len(seen) != 4 {
		t.Errorf("connections went to %v, want all four sockets", seen)
	}
}

// TestTakeOver tests that pins outlive a process, that the next one takes them over with its rules and sockets, and that Detach ends it all.
func TestTakeOver(t *testing.T) {
	l := newLab(t)
	first, err := Open(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	ln := l.listen("tcp4", "127.0.0.1:0", "old")
	mustSet(t, first, "a", ln)
	mustPut(t, first, rule(TCP, "198.51.0.0/16", 80, 80, "a"))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if name, err := ask("198.51.0.1:80"); name != "old" {
		t.Errorf("without a process: %q, %v", name, err)
	}
	second := l.open()
	if name, err := ask("198.51.0.1:80"); name != "old" {
		t.Errorf("after it was taken over: %q, %v", name, err)
	}
	mustSet(t, second, "b", l.listen("tcp4", "127.0.0.1:0", "other"))
	mustSet(t, second, "a", l.listen("tcp4", "127.0.0.1:0", "new"))
	if name, err := ask("198.51.0.1:80"); name != "new" {
		t.Errorf("after the socket changed: %q, %v", name, err)
	}
	if err := Detach(l.dir); err != nil {
		t.Fatal(err)
	}
	second.Close()
	eventually(t, "nothing is steered any more", func() bool {
		_, err := ask("198.51.0.1:80")
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	l := newLab(t)
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "mount -t bpf") {
		t.Errorf("a folder elsewhere: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(l.dir, folder+"2"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(l.dir); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("pins of a newer layout: %v", err)
	}
}

func TestMultipathTCPIsRefused(t *testing.T) {
	l := newLab(t)
	s := l.open()
	var lc net.ListenConfig
	lc.SetMultipathTCP(true)
	ln, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if b, err := os.ReadFile("/proc/sys/net/mptcp/enabled"); err != nil || strings.TrimSpace(string(b)) == "0" {
		t.Log("this kernel has no multipath TCP: the listener is a plain one")
		mustSet(t, s, "g", ln.(*net.TCPListener))
		return
	}
	if err := s.SetSocket("g", ln.(*net.TCPListener)); err == nil || !strings.Contains(err.Error(), "multipath") {
		t.Errorf("got %v", err)
	}
}

// handOver is set in the environment of the second process of TestHandOver; it names the folder of the pins.
const handOver = "SLUICE_TEST_HAND_OVER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(handOver); dir != "" {
		if err := successor(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// successor is a new version of a gateway: it listens elsewhere and takes new connections over.
func successor(dir string) error {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s, err := Open(dir)
	if err != nil {
		return err
	}
	go answer(ln, "new")
	if err := s.SetSocket("http", ln.(*net.TCPListener)); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// TestHandOver moves new connections from one process to another under load, without one error.
func TestHandOver(t *testing.T) {
	l := newLab(t)
	s := l.open()
	old := l.listen("tcp4", "127.0.0.1:0", "old")
	mustSet(t, s, "http", old)
	mustPut(t, s, rule(TCP, "198.51.0.0/16", 1, 65535, "http"))

	var served [2]atomic.Int64 // by old and new
	var failed atomic.Int64
	stop := make(chan struct{})
	var workers []chan struct{}
	for w := range 8 {
		workers = append(workers, l.run(func() {
			for i := 0; i < 20_000; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name, err := ask(fmt.Sprintf("198.51.%d.%d:%d", w, i%250+1, 1+i%60000))
				switch {
				case err != nil:
					failed.Add(1)
					t.Errorf("connection %d of worker %d: %v", i, w, err)
					return
				case name == "old":
					served[0].Add(1)
				default:
					served[1].Add(1)
				}
			}
		}))
	}
	eventually(t, "the old process serves", func() bool { return served[0].Load() > 500 })

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), handOver+"="+l.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the new process said %q, %v", line, err)
	}
	eventually(t, "the new process serves", func() bool { return served[1].Load() > 500 })
	before := served[0].Load()
	old.Close() // what it had accepted is answered, and nothing new comes to it
	eventually(t, "it goes on", func() bool { return served[1].Load() > 1500 })
	close(stop)
	for _, w := range workers {
		<-w
	}
	if after := served[0].Load(); after > before+8 {
		t.Errorf("the old process answered %d connections after the new one had taken over", after-before)
	}
	t.Logf("%d connections to the old process, %d to the new one, %d errors", served[0].Load(), served[1].Load(), failed.Load())

	// A process that is gone takes its socket along, and the rest of the host's sockets are as they were.
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := ask("198.51.0.1:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("with nobody there: %v", err)
	}
}
