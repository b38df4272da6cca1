package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary builds the command once for all tests of the whole program.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sluice-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "sluice")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// process is a gateway started as operators start it.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	dir   string            // the data directory
	addrs map[string]string // by what listens: "http", "Admin API", "control API", "metrics"
	key   string
	done  chan struct{}
	err   error

	mu     sync.Mutex
	logs   bytes.Buffer
	stderr io.Closer // the reading end
}

// baseConfig listens on free ports everywhere. %s is the data directory.
const baseConfig = `
apisix:
  node_listen: [{ip: 127.0.0.1, port: 0}]
  control: {ip: 127.0.0.1, port: 0}
  status: {ip: 127.0.0.1, port: 0}
deployment:
  admin:
    admin_listen: {ip: 127.0.0.1, port: 0}
plugin_attr:
  prometheus:
    export_addr: {ip: 127.0.0.1, port: 0}
sluice:
  data_dir: %s
`

var listening = regexp.MustCompile(`msg=listening what=("[^"]+"|\S+) addr=(\S+)`)

// startProcess runs "sluice run" on a data directory and waits until it is ready. extra is appended to the configuration.
func startProcess(t testing.TB, dir, extra string) *process {
	t.Helper()
	p, err := tryProcess(t, dir, extra)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryProcess(t testing.TB, dir, extra string) (*process, error) {
	t.Helper()
	path, err := binary()
	if err != nil {
		return nil, err
	}
	return runProcess(t, path, dir, fmt.Sprintf(baseConfig, dir)+extra)
}

// runProcess runs "sluice run" with a whole configuration, which keeps its data in dir.
func runProcess(t testing.TB, path, dir, config string) (*process, error) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(conf, []byte(config), 0o600); err != nil {
		return nil, err
	}
	p := &process{t: t, dir: dir, addrs: map[string]string{}, done: make(chan struct{})}
	p.cmd = exec.Command(path, "run", "--config", conf)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = append(os.Environ(), "SLUICE_ADMIN_KEY=", "SLUICE_DATA_DIR=")
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	p.stderr = stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go func() {
		defer close(p.done)
		s := bufio.NewScanner(stderr)
		s.Buffer(nil, 1<<20)
		seen := false
		for s.Scan() {
			line := s.Text()
			p.mu.Lock()
			p.logs.WriteString(line + "\n")
			p.mu.Unlock()
			if m := listening.FindStringSubmatch(line); m != nil {
				p.addrs[strings.Trim(m[1], `"`)] = m[2]
			}
			if strings.Contains(line, "msg=ready") && !seen {
				seen = true
				close(ready)
			}
		}
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(p.kill)
	select {
	case <-ready:
	case <-p.done:
		return nil, fmt.Errorf("the gateway ended: %v\n%s", p.err, p.log())
	case <-time.After(30 * time.Second):
		p.kill()
		return nil, fmt.Errorf("the gateway is not ready after 30 s\n%s", p.log())
	}
	key, err := os.ReadFile(filepath.Join(dir, "admin_key"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it is not there when the configuration has a key
		return nil, err
	}
	p.key = strings.TrimSpace(string(key))
	return p, nil
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logs.String()
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop ends it with SIGTERM and fails the test unless it ends well.
func (p *process) stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("the gateway did not stop\n%s", p.log())
	}
	if p.err != nil {
		p.t.Fatalf("the gateway ended with %v\n%s", p.err, p.log())
	}
}

// admin sends an Admin API request and returns the status and the body.
func (p *process) admin(method, path, body string) (int, string) {
	p.t.Helper()
	status, text, err := p.tryAdmin(context.Background(), method, path, body)
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s", method, path, err, p.log())
	}
	return status, text
}

func (p *process) tryAdmin(ctx context.Context, method, path, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.addrs["Admin API"]+"/apisix/admin"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("X-API-KEY", p.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// put stores a resource and fails the test unless that worked.
func (p *process) put(path string, v any) {
	p.t.Helper()
	body, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			p.t.Fatal(err)
		}
		body = string(b)
	}
	if status, text := p.admin(http.MethodPut, path, body); status != 200 && status != 201 {
		p.t.Fatalf("PUT %s: %d %s", path, status, text)
	}
}

// get fetches a URL of the given listener.
func (p *process) get(what, path string, header ...string) (int, string, http.Header) {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+p.addrs[what]+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		p.t.Fatalf("GET %s: %v\n%s", path, err, p.log())
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}
