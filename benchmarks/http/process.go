package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is how long a process may take to end after SIGTERM before its group is killed.
const stopGrace = 3 * time.Second

// machine says where processes run.
type machine struct {
	proxyCPU, loadCPU int
	autogroup         int // nice value written to /proc/PID/autogroup; 0 leaves it
}

// process is a running program in a session of its own: its own process group, so that it can be ended with all
// its children, and its own scheduler autogroup, so that its share of the core does not depend on the terminal
// that the benchmark was started from.
type process struct {
	name   string
	pid    int
	stdin  io.WriteCloser
	stdout *bufio.Reader
	pipe   *os.File // what stdout reads
	log    string
	done   chan struct{} // closed when the leader has ended
	err    error         // of Wait; valid after done
}

// start runs a program pinned to a core. Its standard error goes to a log file in dir, its standard output there
// too unless pipes is set. When the harness is killed the program gets SIGTERM, which nginx passes on to its worker.
func (m machine) start(name, dir string, core int, pipes bool, program string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("create log of %s: %w", name, err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	// A pipe of our own: exec's StdoutPipe is closed by Wait, which runs before the last line is read here.
	var read, write *os.File
	if pipes {
		if read, write, err = os.Pipe(); err != nil {
			return nil, fmt.Errorf("create pipe for %s: %w", name, err)
		}
		defer write.Close()
		cmd.Stdout = write
		if p.stdin, err = cmd.StdinPipe(); err != nil {
			return nil, fmt.Errorf("create pipe for %s: %w", name, err)
		}
		p.stdout, p.pipe = bufio.NewReader(read), read
	} else {
		cmd.Stdout = log
	}
	if err := startPinned(cmd, core, m.loadCPU); err != nil {
		if read != nil {
			read.Close()
		}
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.pid = cmd.Process.Pid
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	if m.autogroup != 0 {
		// Without root or without autogroups the run is still valid, only noisier; the report says which it was.
		_ = os.WriteFile("/proc/"+strconv.Itoa(p.pid)+"/autogroup", []byte(strconv.Itoa(m.autogroup)), 0)
	}
	return p, nil
}

// startPinned starts a command on one core: affinity is inherited, so the starting thread takes it on meanwhile.
func startPinned(cmd *exec.Cmd, core, back int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := pinThread(0, core); err != nil {
		return err
	}
	defer func() { _ = pinThread(0, back) }()
	return cmd.Start()
}

func pinThread(tid, core int) error {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	return nil
}

// pinSelf moves every thread of the harness to a core; later threads inherit it.
func pinSelf(core int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list threads: %w", err)
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return fmt.Errorf("list threads: %w", err)
		}
		if err := pinThread(tid, core); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// readLine returns the next line of the program's standard output, or an error that quotes its log. A program that
// says nothing for the timeout, or until ctx ends, is stopped.
func (p *process) readLine(ctx context.Context, timeout time.Duration) (string, error) {
	type line struct {
		text string
		err  error
	}
	got := make(chan line, 1)
	go func() {
		text, err := p.stdout.ReadString('\n')
		got <- line{strings.TrimSpace(text), err}
	}()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case l := <-got:
		if l.err != nil {
			<-p.done
			return "", p.failure("ended early")
		}
		return l.text, nil
	case <-ctx.Done():
		p.stop()
		<-got
		return "", p.failure(fmt.Sprintf("said nothing within %s: %v", timeout, ctx.Err()))
	}
}

// failure makes an error from what happened and the end of the program's log.
func (p *process) failure(what string) error {
	const tail = 600
	text, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Errorf("%s %s", p.name, what)
	}
	text = bytes.TrimSpace(text)
	if len(text) > tail {
		text = append([]byte("..."), text[len(text)-tail:]...)
	}
	if len(text) == 0 {
		return fmt.Errorf("%s %s", p.name, what)
	}
	return fmt.Errorf("%s %s: %s", p.name, what, text)
}

// alive says whether the program is still running.
func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop ends the program and everything in its process group, and returns when the program is gone.
func (p *process) stop() {
	if p.stdin != nil {
		p.stdin.Close()
	}
	if p.alive() {
		_ = syscall.Kill(-p.pid, syscall.SIGTERM)
		timer := time.NewTimer(stopGrace)
		defer timer.Stop()
		select {
		case <-p.done:
		case <-timer.C:
		}
	}
	// Children that outlived the leader are still in its group; with none left this finds nobody.
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	<-p.done
	if p.pipe != nil {
		p.pipe.Close()
	}
}
