package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const steerConfig = `
apisix:
  node_listen: [{ip: 127.0.0.1, port: 9080}]
  proxy_mode: http&stream
  stream_proxy: {tcp: ["127.0.0.1:9100"], udp: ["127.0.0.1:9200"]}
sluice:
  data_dir: %s
  l4:
    pin_dir: %s
    steer:
      - {prefix: 198.51.0.0/16, to: http}
      - {prefix: 198.51.100.0/24, ports: 5432, to: "tcp:9100"}
      - {prefix: 198.51.0.0/16, ports: 9200, to: "udp:9200"}
`

// TestSteering runs the gateway in a network namespace of its own, where one listener serves a /16 and all its ports.
func TestSteering(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("network namespaces and BPF need root")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	pins, dir := t.TempDir(), t.TempDir()
	if err := unix.Mount("bpf", pins, "bpf", 0, ""); err != nil {
		t.Skipf("mount a BPF file system (needs CAP_SYS_ADMIN): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(pins, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", pins, err)
		}
	})
	// Programs that this thread starts are in the namespace; it ends with the last of them.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) (string, error) {
		out, err := exec.Command(name, args...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	for _, args := range []string{"link set lo up", "route add local 198.51.0.0/16 dev lo"} {
		if out, err := run("ip", strings.Fields(args)...); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	config := fmt.Sprintf(steerConfig, dir, filepath.Join(pins, "sluice"))
	start := func() *process {
		t.Helper()
		p, err := runProcess(t, path, dir, config)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	get := func(url string) string {
		out, err := run("curl", "-s", "-m", "5", url)
		if err != nil {
			return err.Error()
		}
		return out
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l4 := func(verb string) string {
		t.Helper()
		out, err := run(path, "l4", verb, "--config", file)
		if err != nil {
			t.Errorf("sluice l4 %s: %v: %s", verb, err, out)
		}
		return out
	}

	p := start()
	if out, err := run("curl", "-sf", "-X", "PUT", "-H", "X-API-KEY: "+p.key, "http://127.0.0.1:9180/apisix/admin/routes/1", "-d",
		`{"uri":"/hello","plugins":{"fault-injection":{"abort":{"http_status":200,"body":"$server_addr:$server_port"}}}}`); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := run("curl", "-sf", "-X", "PUT", "-H", "X-API-KEY: "+p.key, "http://127.0.0.1:9180/apisix/admin/stream_routes/1", "-d",
		`{"server_port":5432,"upstream":{"type":"roundrobin","nodes":{"127.0.0.1:9080":1}}}`); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for url, want := range map[string]string{
		"http://198.51.0.1/hello":          "198.51.0.1:80",
		"http://198.51.255.254:1/hello":    "198.51.255.254:1",
		"http://198.51.7.7:65535/hello":    "198.51.7.7:65535",
		"http://198.51.100.9:5432/hello":   "127.0.0.1:9080", // through the stream route
		"http://127.0.0.1:9080/hello":      "127.0.0.1:9080",
		"http://127.0.0.1:81/hello":        "exit status 7", // refused
		"http://198.51.100.9:5433/nothing": `{"error_msg":"404 Route Not Found"}`,
	} {
		if got := get(url); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	// This thread's sockets are in the namespace. A connected one takes answers from the address that it sends to only.
	node := echoUDP(t)
	if out, err := run("curl", "-sf", "-X", "PUT", "-H", "X-API-KEY: "+p.key, "http://127.0.0.1:9180/apisix/admin/stream_routes/2", "-d",
		`{"server_port":9200,"server_addr":"198.51.0.0/16","upstream":{"type":"roundrobin","nodes":{"`+node+`":1}}}`); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, to := range []string{"198.51.3.4:9200", "198.51.200.1:9200"} {
		c, err := net.Dial("udp", to)
		if err != nil {
			t.Fatal(err)
		}
		if got := say(t, c, "over udp"); got != "over udp" {
			t.Errorf("%s: %q", to, got)
		}
	}
	if out := l4("status"); !strings.Contains(out, "http         4 steered, 0 without a socket") || !strings.Contains(out, "tcp:9100     1 steered") {
		t.Errorf("sluice l4 status: %s", out)
	}
	if out := get("http://127.0.0.1:9091/apisix/prometheus/metrics"); !strings.Contains(out, `sluice_steered_total{listener="http"} 4`) {
		t.Errorf("the metrics lack what was steered")
	}

	// A gateway that is gone serves nothing, and the next one takes over.
	p.kill()
	if got := get("http://198.51.0.1/hello"); got != "exit status 7" {
		t.Errorf("without a gateway: %q", got)
	}
	p = start()
	if got := get("http://198.51.0.1/hello"); got != "198.51.0.1:80" {
		t.Errorf("after a restart: %q", got)
	}
	p.stop()
	if out := l4("detach"); !strings.Contains(out, "nothing is pinned") {
		t.Errorf("sluice l4 detach: %s", out)
	}
	if out := l4("status"); !strings.Contains(out, "nothing is pinned") {
		t.Errorf("sluice l4 status: %s", out)
	}
}

// TestSteeringUnavailable tests that a gateway that cannot steer says why and serves what it listens on.
func TestSteeringUnavailable(t *testing.T) {
	p := startProcess(t, t.TempDir(), "  l4:\n    pin_dir: "+t.TempDir()+"\n    steer: [{prefix: 198.51.0.0/16, to: http}]\n")
	if !strings.Contains(p.log(), "nothing is steered to the listeners") || !strings.Contains(p.log(), "mount -t bpf") {
		t.Errorf("the log does not say it:\n%s", p.log())
	}
	if status, _, _ := p.get("http", "/"); status != 404 {
		t.Errorf("%d, want 404", status)
	}
	if _, err := tryProcess(t, t.TempDir(), "  l4: {steer: [{prefix: 198.51.0.0/16, to: \"tcp:9100\"}]}\n"); err == nil || !strings.Contains(err.Error(), "sluice.l4.steer[0].to: there is no listener tcp:9100") {
		t.Errorf("a listener that is not there: %v", err)
	}
}
