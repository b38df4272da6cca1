package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// startTimeout bounds how long a contender may take until it answers.
	startTimeout = 10 * time.Second
	// startTries is how often a contender is started anew: a port that was free when it was chosen may be taken
	// by the time it is bound.
	startTries = 3
)

// bench is what all contenders of one case share.
type bench struct {
	machine  machine
	tools    tools
	dir      string // of this case
	upstream int    // port
}

// instance is a running contender.
type instance struct {
	*process
	port int
}

// kind is a program that can be measured.
type kind struct {
	name  string
	start func(ctx context.Context, b bench, s setup, dir string) (*instance, error)
	// forwards says whether the program is a real proxy, that must add X-Forwarded-For; the floor is none.
	forwards bool
}

// kinds lists the programs, in the order of the tables.
func kinds() []kind {
	return []kind{
		{name: "nginx", start: startNginx, forwards: true},
		{name: "haproxy", start: startHAProxy, forwards: true},
		{name: "floor", start: startFloor},
		{name: "sluice", start: startSluice, forwards: true},
	}
}

func kindNames() []string {
	var out []string
	for _, k := range kinds() {
		out = append(out, k.name)
	}
	return out
}

func startNginx(_ context.Context, b bench, s setup, dir string) (*instance, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(nginxConfig(s, dir, port, b.upstream, os.Geteuid() == 0)), 0o644); err != nil {
		return nil, fmt.Errorf("write nginx configuration: %w", err)
	}
	p, err := b.machine.start("nginx", dir, b.machine.proxyCPU, false, b.tools.nginx, "-e", "stderr", "-p", dir, "-c", conf)
	if err != nil {
		return nil, err
	}
	return &instance{p, port}, nil
}

func startHAProxy(_ context.Context, b bench, s setup, dir string) (*instance, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	conf, prefixes := filepath.Join(dir, "haproxy.cfg"), filepath.Join(dir, "haproxy.map")
	if err := os.WriteFile(prefixes, []byte(haproxyMap(s.routes)), 0o644); err != nil {
		return nil, fmt.Errorf("write haproxy map: %w", err)
	}
	if err := os.WriteFile(conf, []byte(haproxyConfig(s, prefixes, port, b.upstream)), 0o644); err != nil {
		return nil, fmt.Errorf("write haproxy configuration: %w", err)
	}
	p, err := b.machine.start("haproxy", dir, b.machine.proxyCPU, false, b.tools.haproxy, "-db", "-q", "-f", conf)
	if err != nil {
		return nil, err
	}
	return &instance{p, port}, nil
}

func startFloor(ctx context.Context, b bench, _ setup, dir string) (*instance, error) {
	return b.startNative(ctx, "floor", dir, b.machine.proxyCPU, b.tools.floor, strconv.Itoa(b.upstream))
}

// startNative starts one of our C servers, which choose their port themselves and print it.
func (b bench) startNative(ctx context.Context, name, dir string, core int, program string, args ...string) (*instance, error) {
	p, err := b.machine.start(name, dir, core, true, program, args...)
	if err != nil {
		return nil, err
	}
	line, err := p.readLine(ctx, startTimeout)
	if err != nil {
		p.stop()
		return nil, err
	}
	port, err := strconv.Atoi(strings.TrimPrefix(line, "port "))
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("start %s: unexpected line %q", name, line)
	}
	return &instance{p, port}, nil
}

// launch starts a contender and proves that it does the work of the case before anything is measured.
func (b bench) launch(ctx context.Context, k kind, s setup, w workload, label string) (*instance, error) {
	dir := filepath.Join(b.dir, label)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create folder of %s: %w", label, err)
	}
	var last error
	for range startTries {
		inst, err := k.start(ctx, b, s, dir)
		if err == nil {
			if err = b.prove(ctx, inst, k, w); err == nil {
				return inst, nil
			}
			inst.stop()
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("start %s: %w", label, last)
}

// prove waits until the contender answers, then compares a body with what the upstream itself answers and checks
// that the upstream sees an HTTP/1.1 request with X-Forwarded-For.
func (b bench) prove(ctx context.Context, inst *instance, k kind, w workload) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	header := w.header()
	first := strings.ReplaceAll(w.target, "%d", "0")
	var got []byte
	for {
		var err error
		if got, err = fetch(ctx, inst.port, first, header); err == nil {
			break
		}
		if !inst.alive() {
			return inst.failure("ended at start")
		}
		if ctx.Err() != nil {
			return inst.failure(fmt.Sprintf("does not serve %s: %v", first, err))
		}
		// Waiting for a foreign program to listen: nothing announces it.
		time.Sleep(20 * time.Millisecond)
	}
	if !w.stream {
		want, err := fetch(ctx, b.upstream, first, nil)
		if err != nil {
			return fmt.Errorf("ask upstream: %w", err)
		}
		if sha256.Sum256(got) != sha256.Sum256(want) {
			return fmt.Errorf("answer of %s differs from the upstream's: %d bytes, expected %d", k.name, len(got), len(want))
		}
	}
	if len(got) != w.length {
		return fmt.Errorf("answer of %s has %d bytes, expected %d", k.name, len(got), w.length)
	}
	if !k.forwards {
		return nil
	}
	head, err := fetch(ctx, inst.port, first[:strings.LastIndexByte(first, '/')]+"/head", header)
	if err != nil {
		return fmt.Errorf("ask for the forwarded head: %w", err)
	}
	return checkForwarded(string(head))
}

// checkForwarded looks at a request head as the upstream received it.
func checkForwarded(head string) error {
	lines := strings.Split(strings.ToLower(head), "\n")
	if !strings.HasSuffix(strings.TrimSpace(lines[0]), " http/1.1") {
		return fmt.Errorf("forwarded request is not HTTP/1.1: %q", lines[0])
	}
	forwarded := false
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch {
		case name == "x-forwarded-for" && value == "127.0.0.1":
			forwarded = true
		case name == "connection" && value == "close":
			return errors.New("forwarded request closes its connection")
		}
	}
	if !forwarded {
		return errors.New("forwarded request lacks X-Forwarded-For: 127.0.0.1")
	}
	return nil
}

// fetch GETs a path of a server on this host and returns the body of a 200 answer.
func fetch(ctx context.Context, port int, path string, header http.Header) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Close = true
	for name, values := range header {
		req.Header[name] = values
	}
	client := http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %.200s", res.StatusCode, body)
	}
	return body, nil
}

// freePort returns a TCP port of 127.0.0.1 that is free now.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
