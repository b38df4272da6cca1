package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// streamConfig has a TCP, a TLS and a UDP port for stream routes. %s is the data directory.
const streamConfig = `
apisix:
  node_listen: [{ip: 127.0.0.1, port: 0}]
  control: {ip: 127.0.0.1, port: 0}
  proxy_mode: http&stream
  stream_proxy:
    tcp:
      - 127.0.0.1:%d
      - {addr: "127.0.0.1:%d", tls: true}
    udp:
      - 127.0.0.1:%d
nginx_config:
  stream:
    enable_access_log: true
deployment:
  admin:
    admin_listen: {ip: 127.0.0.1, port: 0}
plugin_attr:
  prometheus:
    export_addr: {ip: 127.0.0.1, port: 0}
sluice:
  data_dir: %s
`

// freePorts finds ports that nothing listens on now.
func freePorts(t *testing.T, n int) (ports []any) {
	t.Helper()
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func echoTCP(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return ln.Addr().String()
}

func echoUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
	return c.LocalAddr().String()
}

// startStreamProcess runs the gateway with ports for stream routes, which it returns: TCP, TLS, UDP; dir is its data directory.
func startStreamProcess(t *testing.T) (p *process, ports []any, dir string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	ports = freePorts(t, 3)
	p, err = runProcess(t, path, dir, fmt.Sprintf(streamConfig, append(ports, dir)...))
	if err != nil {
		t.Fatal(err)
	}
	return p, ports, dir
}

// say sends a line over a connection and returns the line that comes back, or "" when the connection ends instead.
func say(t *testing.T, c net.Conn, what string) string {
	t.Helper()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintln(c, what)
	line, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line)
}

// TestStreamRoutes goes from the Admin API to proxied connections, with the examples of APISIX's page on the stream proxy (docs/en/latest/stream-proxy.md).
func TestStreamRoutes(t *testing.T) {
	p, ports, dir := startStreamProcess(t)
	tcp, udp := echoTCP(t), echoUDP(t)
	dial := func(network string, port any) net.Conn {
		t.Helper()
		c, err := net.Dial(network, fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if got := say(t, dial("tcp", ports[0]), "before"); got != "" {
		t.Errorf("without a route: %q", got)
	}
	p.put("/stream_routes/1", `{"remote_addr":"127.0.0.1","upstream":{"nodes":{"`+tcp+`":1},"type":"roundrobin"}}`)
	if got := say(t, dial("tcp", ports[0]), "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	p.put("/stream_routes/2", fmt.Sprintf(`{"server_addr":"127.0.0.1","server_port":%d,"upstream":{"nodes":{"%s":1},"type":"roundrobin"}}`, ports[2], udp))
	p.put("/stream_routes/1", fmt.Sprintf(`{"server_addr":"127.0.0.1","server_port":%d,"upstream":{"nodes":{"%s":1},"type":"roundrobin"}}`, ports[0], tcp))
	if got := say(t, dial("udp", ports[2]), "over udp"); got != "over udp" {
		t.Errorf("got %q", got)
	}

	t.Run("TLS", func(t *testing.T) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
		if out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=a.test.com", "-days", "2",
			"-keyout", key, "-out", cert).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		text := func(name string) string {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		p.put("/ssls/1", map[string]any{"cert": text(cert), "key": text(key), "snis": []string{"a.test.com"}})
		p.put("/stream_routes/3", `{"sni":"a.test.com","upstream":{"nodes":{"`+tcp+`":1},"type":"roundrobin"}}`)
		if got := say(t, tls.Client(dial("tcp", ports[1]), &tls.Config{ServerName: "a.test.com", InsecureSkipVerify: true}), "secret"); got != "secret" {
			t.Errorf("got %q", got)
		}
		if got := say(t, tls.Client(dial("tcp", ports[1]), &tls.Config{ServerName: "b.test.com", InsecureSkipVerify: true}), "secret"); got != "" {
			t.Errorf("a name without certificate: %q", got)
		}
	})

	t.Run("plugins", func(t *testing.T) {
		route := func(plugins string) {
			t.Helper()
			p.put("/stream_routes/1", fmt.Sprintf(`{"server_port":%d,"plugins":{%s},"upstream":{"nodes":{"%s":1},"type":"roundrobin"}}`, ports[0], plugins, tcp))
		}
		route(`"ip-restriction":{"blacklist":["127.0.0.0/24"]}`)
		if got := say(t, dial("tcp", ports[0]), "x"); got != "" {
			t.Errorf("from an address that is not allowed: %q", got)
		}
		route(`"ip-restriction":{"whitelist":["127.0.0.0/24"]},"prometheus":{}`)
		if got := say(t, dial("tcp", ports[0]), "x"); got != "x" {
			t.Errorf("from an address that is allowed: %q", got)
		}
		route(`"limit-conn":{"conn":1,"burst":0,"default_conn_delay":0.1,"key":"remote_addr"}`)
		first := dial("tcp", ports[0])
		fmt.Fprintln(first, "1")
		if line, err := bufio.NewReader(first).ReadString('\n'); err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		if got := say(t, dial("tcp", ports[0]), "2"); got != "" {
			t.Errorf("a second connection: %q", got)
		}
		first.Close()
		deadline := time.Now().Add(10 * time.Second)
		for say(t, dial("tcp", ports[0]), "3") != "3" {
			if time.Now().After(deadline) {
				t.Fatal("the connection that ended is still counted")
			}
		}
	})

	t.Run("metrics", func(t *testing.T) {
		_, body, _ := p.get("metrics", "/apisix/prometheus/metrics")
		for _, want := range []string{`apisix_stream_connection_total{route="1"} 1`, `sluice_stream_refused_total{reason="plugin"}`, `sluice_stream_refused_total{reason="route"} 1`,
			`sluice_stream_refused_total{reason="tls"} 1`, `sluice_stream_udp_sessions_total 1`, `sluice_stream_route_connections_total{route="2"} 1`} {
			if !strings.Contains(body, want) {
				t.Errorf("the metrics lack %s", want)
			}
		}
	})

	t.Run("refused", func(t *testing.T) {
		for _, tc := range []struct{ doc, want string }{
			{`{"remote_addr":"x","upstream":{"nodes":{"127.0.0.1:1":1},"type":"roundrobin"}}`, `property "remote_addr" validation failed`},
			{`{"server_port":0,"upstream":{"nodes":{"127.0.0.1:1":1},"type":"roundrobin"}}`, `property "server_port" validation failed: expected 0 to be at least 1`},
			{`{"upstream":{"nodes":{"127.0.0.1:1":1},"type":"nosuch"}}`, `stream route 9: upstream: compile upstream /stream_routes/9: type: "nosuch" is none of`},
			{`{"upstream":{"nodes":{"127.0.0.1:1":1},"type":"roundrobin"},"plugins":{"key-auth":{}}}`, `unknown plugin [key-auth]`},
			{`{"upstream":{"nodes":{"127.0.0.1:1":1},"type":"roundrobin"},"protocol":{"name":"redis"}}`, `unknown protocol [redis]`},
			{`{"upstream":{"nodes":{"127.0.0.1:1":1},"type":"roundrobin"},"plugins":{"limit-conn":{"conn":"$x","burst":0,"default_conn_delay":1,"key":"remote_addr"}}}`,
				`failed to check the configuration of stream plugin [limit-conn]: property "conn" validation failed: wrong type: expected integer, got string`},
			{`{"upstream_id":"nope"}`, `failed to fetch upstream info by upstream id [nope], response code: 404`},
		} {
			status, body := p.admin("PUT", "/stream_routes/9", tc.doc)
			var got struct {
				Error string `json:"error_msg"`
			}
			if err := json.Unmarshal([]byte(body), &got); err != nil || status != 400 || !strings.Contains(got.Error, tc.want) {
				t.Errorf("%s: %d %s, want 400 with %s", tc.doc, status, body, tc.want)
			}
		}
		if status, body := p.admin("GET", "/plugins?all=true&subsystem=stream", ""); status != 200 || !strings.Contains(body, "limit-conn") || strings.Contains(body, "key-auth") {
			t.Errorf("plugins of streams: %d %.300s", status, body)
		}
	})

	if status, body := p.admin("GET", "/schema/plugins/limit-conn?subsystem=stream", ""); status != 200 || strings.Contains(body, "rejected_code") {
		t.Errorf("the schema of limit-conn in stream routes: %d %s", status, body)
	}

	// Stored routes are served again after a restart, and connections end in order.
	open := dial("tcp", ports[0])
	fmt.Fprintln(open, "still")
	if line, err := bufio.NewReader(open).ReadString('\n'); err != nil || line != "still\n" {
		t.Fatalf("%q, %v", line, err)
	}
	open.Close()
	p.stop()

	// What was buffered is written at the end.
	log, err := os.ReadFile(filepath.Join(dir, "logs", "access_stream.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^127\.0\.0\.1 \[.+\] TCP 200 6 6 \d+\.\d{3}$`,
		`(?m)^127\.0\.0\.1 \[.+\] UDP 200 9 9 \d+\.\d{3}$`,
		`(?m)^127\.0\.0\.1 \[.+\] TCP 403 0 0 \d+\.\d{3}$`,
		`(?m)^127\.0\.0\.1 \[.+\] TCP 503 0 0 \d+\.\d{3}$`,
	} {
		if !regexp.MustCompile(want).Match(log) {
			t.Errorf("the access log lacks %s:\n%s", want, log)
		}
	}
}
