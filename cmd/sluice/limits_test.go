package main

import (
	"encoding/json"
	"testing"

	"github.com/sluice-gateway/sluice/control/config"
)

func TestConnectionsPerLoop(t *testing.T) {
	for _, tt := range []struct {
		name              string
		configured, loops int
		files             uint64
		want              int
	}{
		{"configured", 1000, 4, 64, 250},
		{"rounded up", 1001, 4, 64, 251},
		{"fewer than loops", 1, 4, 64, 1},
		{"derived", 0, 2, 1024, 192},
		{"derived from much", 0, 4, 65536, 8160},
		{"derived from little", 0, 2, 64, 8},
		{"derived from nothing", 0, 2, 0, 1},
		{"no limit", 0, 8, 1<<64 - 1, 1 << 17},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := connectionsPerLoop(tt.configured, tt.loops, tt.files); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestRedirectPort(t *testing.T) {
	on := func(ports ...int) *config.Config {
		c := config.Default()
		c.APISIX.SSL.Enable, c.APISIX.SSL.Listen = len(ports) > 0, nil
		for _, p := range ports {
			c.APISIX.SSL.Listen = append(c.APISIX.SSL.Listen, config.SSLListen{Addr: config.Addr{Port: p}})
		}
		return c
	}
	for _, tt := range []struct {
		name, attr, want string
		conf             *config.Config
	}{
		{"the default", "", `{"https_port":9443}`, config.Default()},
		{"the first of several", "", `{"https_port":8443}`, on(8443, 9443)},
		{"TLS is off", "", "", on()},
		{"plugin_attr wins", `{"https_port":7443}`, `{"https_port":7443}`, on(8443)},
		{"plugin_attr says something else", `{"x":1}`, `{"https_port":8443,"x":1}`, on(8443)},
		{"plugin_attr is wrong", `[]`, `[]`, on(8443)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			attr := map[string]json.RawMessage{}
			if tt.attr != "" {
				attr["redirect"] = json.RawMessage(tt.attr)
			}
			redirectPort(attr, tt.conf)
			if got := string(attr["redirect"]); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
