// Command demo starts a gateway with a demo route to a demo upstream, shows a request going through it, and keeps both running until it is
// interrupted. "make run" builds and calls it.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const route = `{
  "name": "demo",
  "uri": "/demo/*",
  "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}}
}`

func main() {
	sluice := flag.String("sluice", "bin/sluice", "the gateway's binary")
	data := flag.String("data", ".cache/demo", "the data directory")
	once := flag.Bool("once", false, "stop after the request has been shown")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *sluice, *data, *once); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, sluice, data string, once bool) error {
	origin, err := net.Listen("tcp", "127.0.0.1:1980")
	if err != nil {
		return fmt.Errorf("start the demo upstream: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(origin) }()
	defer server.Close()

	data, err = filepath.Abs(data)
	if err != nil {
		return err
	}
	gateway := exec.Command(sluice, "run")
	gateway.Env = append(os.Environ(), "SLUICE_DATA_DIR="+data)
	logs, err := gateway.StderrPipe()
	if err != nil {
		return err
	}
	gateway.Stdout = os.Stdout
	// A process group of its own: Ctrl-C reaches the demo, which stops the gateway once and in order.
	gateway.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := gateway.Start(); err != nil {
		return fmt.Errorf("start the gateway: %w", err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		follow(logs, ready)
		ended <- gateway.Wait()
	}()
	select {
	case <-ready:
	case err := <-ended:
		return fmt.Errorf("the gateway stopped at once (%v); its message is above. Are its ports taken?", err)
	case <-ctx.Done():
	}
	err = show(ctx, data)
	if err == nil && !once {
		fmt.Printf("\nThe gateway keeps running. Its data, with the key in admin_key, are in %s.\nCtrl-C stops it.\n\n", data)
		select {
		case <-ctx.Done():
		case err := <-ended:
			return fmt.Errorf("the gateway stopped: %w", err)
		}
	}
	_ = gateway.Process.Signal(syscall.SIGTERM)
	if stopErr := <-ended; err == nil && stopErr != nil {
		return fmt.Errorf("stop the gateway: %w", stopErr)
	}
	fmt.Println("stopped")
	return err
}

// follow copies the gateway's log and closes ready when it says that it is.
func follow(logs io.Reader, ready chan<- struct{}) {
	s := bufio.NewScanner(logs)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		fmt.Fprintln(os.Stderr, s.Text())
		if ready != nil && strings.Contains(s.Text(), "msg=ready") {
			close(ready)
			ready = nil
		}
	}
}

// show makes the demo route and sends a request through it.
func show(ctx context.Context, data string) error {
	key, err := os.ReadFile(filepath.Join(data, "admin_key"))
	if env := os.Getenv("SLUICE_ADMIN_KEY"); env != "" {
		key, err = []byte(env), nil
	}
	if err != nil {
		return fmt.Errorf("read the admin key: %w", err)
	}
	fmt.Printf("\n$ curl http://127.0.0.1:9180/apisix/admin/routes/demo -H \"X-API-KEY: $admin_key\" -X PUT -d '%s'\n", route)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://127.0.0.1:9180/apisix/admin/routes/demo", strings.NewReader(route))
	if err != nil {
		return err
	}
	req.Header.Set("X-API-KEY", strings.TrimSpace(string(key)))
	if err := print(req); err != nil {
		return err
	}
	fmt.Print("\n$ curl -i http://127.0.0.1:9080/demo/hello\n")
	if req, err = http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:9080/demo/hello", nil); err != nil {
		return err
	}
	return print(req)
}

func print(req *http.Request) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	fmt.Printf("%s %s\n", resp.Proto, resp.Status)
	for _, name := range []string{"Server", "Content-Type"} {
		if v := resp.Header.Get(name); v != "" {
			fmt.Printf("%s: %s\n", name, v)
		}
	}
	fmt.Printf("\n%s\n", strings.TrimSpace(string(body)))
	if resp.StatusCode >= 300 {
		return errors.New("the request failed: see the answer above")
	}
	return nil
}

// answer is the demo upstream: it says what reached it.
func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Hello from the demo upstream.\nIt got %s %s for %s from %s.\n", r.Method, r.RequestURI, r.Host, r.Header.Get("X-Forwarded-For"))
}
