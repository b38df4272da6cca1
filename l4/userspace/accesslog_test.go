package userspace

import (
	"crypto/tls"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// lines is an access log whose lines are the values of the variables, separated by bars.
func lines(names ...string) (chan string, func(*plugin.Exchange)) {
	var vars []plugin.Var
	for _, name := range names {
		vars = append(vars, plugin.CompileVar(name))
	}
	out := make(chan string, 16)
	return out, func(ex *plugin.Exchange) {
		var values []string
		for _, v := range vars {
			b, ok := v(ex)
			if !ok {
				b = []byte("-")
			}
			values = append(values, string(b))
		}
		out <- strings.Join(values, "|")
	}
}

// TestAccessLog holds what the variables of nginx's stream log say.
func TestAccessLog(t *testing.T) {
	node := serveTCP(t, echo)
	down := refusing(t)
	for _, tt := range []struct {
		name string
		edit func(*snapshot.StreamRoute)
		want string // remote_addr, protocol, status, bytes_received, bytes_sent, session_time, upstream_addr, upstream_connect_time, route_id
	}{
		{"proxied", func(*snapshot.StreamRoute) {}, `127.0.0.1|TCP|200|4|4|\d+\.\d{3}|` + node.addr + `|0\.\d{3}|1`},
		{"the second node", func(r *snapshot.StreamRoute) {
			r.Upstream = to(down, node.addr).Upstream
			r.Upstream.Nodes[0].Weight = 1000
		}, `127.0.0.1|TCP|200|4|4|\d+\.\d{3}|` + down + `, ` + node.addr + `|-, 0\.\d{3}|1`},
		{"no node", func(r *snapshot.StreamRoute) { r.Upstream = to(down).Upstream }, `127.0.0.1|TCP|502|0|0|\d+\.\d{3}|` + down + `|-|1`},
		{"no upstream", func(r *snapshot.StreamRoute) { r.Upstream = nil }, `127.0.0.1|TCP|502|0|0|\d+\.\d{3}|-|-|1`},
		{"a plugin refuses", func(r *snapshot.StreamRoute) { with(r, probing("probe-high", `{"name":"a","do":"refuse"}`)) }, `127.0.0.1|TCP|403|0|0|\d+\.\d{3}|-|-|1`},
		{"a plugin panics", func(r *snapshot.StreamRoute) { with(r, probing("probe-high", `{"name":"a","do":"panic"}`)) }, `127.0.0.1|TCP|500|0|0|\d+\.\d{3}|-|-|1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, log := lines("remote_addr", "protocol", "status", "bytes_received", "bytes_sent", "session_time", "upstream_addr", "upstream_connect_time", "route_id")
			r := to(node.addr)
			tt.edit(r)
			g := start(t, Options{AccessLog: log}, nil, r)
			c := g.dial()
			fmt.Fprint(c, "ping")
			_ = c.CloseWrite()
			_, _ = io.ReadAll(c)
			if line := <-got; !regexp.MustCompile("^" + strings.ReplaceAll(tt.want, "|", `\|`) + "$").MatchString(line) {
				t.Errorf("got %s, want %s", line, tt.want)
			}
		})
	}

	t.Run("UDP", func(t *testing.T) {
		got, log := lines("protocol", "status", "bytes_received", "bytes_sent", "upstream_bytes_sent", "upstream_bytes_received")
		r := to(serveUDP(t, "a"))
		r.Upstream.Timeout = snapshot.Timeout{Connect: 1, Send: 0.05, Read: 0.05}
		g := start(t, Options{AccessLog: log}, nil, r)
		ask(t, dialUDP(t, g.udp), "ping")
		if line := <-got; line != "UDP|200|4|5|4|5" {
			t.Errorf("got %s", line)
		}
	})

	t.Run("server name", func(t *testing.T) {
		got, log := lines("ssl_preread_server_name", "ssl_server_name")
		r := to(node.addr)
		r.SNI = "a.test"
		g := start(t, Options{AccessLog: log}, nil, r)
		c := g.dial()
		// The node sends the ClientHello back, which is no answer.
		if err := tls.Client(c, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true}).Handshake(); err == nil {
			t.Error("the handshake succeeds")
		}
		c.Close()
		if line := <-got; line != "a.test|-" {
			t.Errorf("got %s", line)
		}
	})

	t.Run("no route", func(t *testing.T) {
		got, log := lines("status")
		g := start(t, Options{AccessLog: log}, nil)
		_, _ = io.ReadAll(g.dial())
		eventually(t, "the connection ends", func() bool { return g.stats.Active.Load() == 0 })
		if len(got) > 0 {
			t.Errorf("got %s: what no route is for is only counted", <-got)
		}
	})
}
