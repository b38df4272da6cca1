package model

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKinds(t *testing.T) {
	seen := map[Kind]bool{}
	for _, info := range Kinds() {
		if seen[info.Kind] {
			t.Errorf("%s is there twice", info.Kind)
		}
		seen[info.Kind] = true
		got, ok := Lookup(info.Kind)
		if !ok || !cmp.Equal(got, info) {
			t.Errorf("Lookup(%s) differs from Kinds", info.Kind)
		}
		for _, ref := range info.Refs {
			if _, ok := Lookup(ref.Kind); !ok {
				t.Errorf("%s refers to the unknown kind %s", info.Kind, ref.Kind)
			}
			if strings.Count(ref.Format, "%s") != 1 || strings.Contains(ref.Missing("a"), "%!") {
				t.Errorf("%s: message %q", info.Kind, ref.Format)
			}
			if ref.Type != "" && strings.Contains(ref.WrongType("a"), "%!") {
				t.Errorf("%s: message %q", info.Kind, ref.TypeFormat)
			}
		}
		for _, use := range info.ReferencedBy {
			if _, ok := Lookup(use.Kind); !ok {
				t.Errorf("%s is referred to by the unknown kind %s", info.Kind, use.Kind)
			}
			if strings.Contains(use.InUse("a"), "%!") {
				t.Errorf("%s: message %q", info.Kind, use.Format)
			}
		}
	}
	if _, ok := Lookup("nosuch"); ok {
		t.Error("Lookup knows nosuch")
	}
}

// TestMethods holds the table against unsupported_methods of apisix/admin/*.lua.
func TestMethods(t *testing.T) {
	refused := map[Kind]string{
		Consumers: "POST PATCH", Credentials: "POST PATCH", ConsumerGroups: "POST", PluginConfigs: "POST", GlobalRules: "POST",
		Protos: "PATCH", Secrets: "POST", StreamRoutes: "PATCH", PluginMetadatas: "POST PATCH",
	}
	for _, info := range Kinds() {
		var got []string
		for _, method := range []string{"GET", "PUT", "POST", "PATCH", "DELETE"} {
			if !info.Allows(method) {
				got = append(got, method)
			}
		}
		if strings.Join(got, " ") != refused[info.Kind] {
			t.Errorf("%s refuses %v, want %q", info.Kind, got, refused[info.Kind])
		}
	}
}

func TestMessages(t *testing.T) {
	info := func(kind Kind) KindInfo {
		i, ok := Lookup(kind)
		if !ok {
			t.Fatalf("no kind %s", kind)
		}
		return i
	}
	tests := []struct{ source, got, want string }{
		{"t/admin/consumers.t", info(Consumers).MethodRefused("POST"), "not supported `POST` method for consumer"},
		{"t/admin/plugin-configs.t", info(PluginConfigs).MethodRefused("POST"), "not supported `POST` method for plugin config"},
		{"t/admin/routes.t", info(Routes).Refs[2].Missing("not_found"), "failed to fetch service info by service id [not_found], response code: 404"},
		{"t/admin/upstream-force-delete.t", info(Upstreams).ReferencedBy[1].InUse("1"), "can not delete this upstream, route [1] is still using it now"},
		{"t/admin/services-force-delete.t", info(Services).ReferencedBy[0].InUse("1"), "can not delete this service directly, route [1] is still using it now"},
		{"t/admin/upstream.t", info(Upstreams).Refs[0].WrongType("1"), "failed to fetch ssl info by ssl id [1], wrong ssl type"},
		{"key", Key{Routes, "1"}.String(), "/routes/1"},
	}
	for _, tt := range tests {
		t.Run(tt.source, func(t *testing.T) {
			if tt.got != tt.want {
				t.Errorf("got %q, want %q", tt.got, tt.want)
			}
		})
	}
}

func TestIDs(t *testing.T) {
	const doc = `{"upstream_id":1,"name":"x","empty":"","upstream":{"tls":{"client_cert_id":"c"}},
		"plugins":{"traffic-split":{"rules":[{"weighted_upstreams":[{"upstream_id":"a"},{"weight":1},{"upstream_id":2}]},{},7]}}}`
	tests := []struct {
		path string
		want []string
	}{
		{"upstream_id", []string{"1"}},
		{"service_id", nil},
		{"empty", nil},
		{"name.x", nil},
		{"upstream", nil},
		{"upstream.tls.client_cert_id", []string{"c"}},
		{strings.Join(trafficSplitUpstream, "."), []string{"a", "2"}},
	}
	for _, number := range []string{"float64", "json.Number"} {
		decoder := json.NewDecoder(strings.NewReader(doc))
		if number == "json.Number" {
			decoder.UseNumber()
		}
		var v any
		if err := decoder.Decode(&v); err != nil {
			t.Fatal(err)
		}
		for _, tt := range tests {
			t.Run(number+"/"+tt.path, func(t *testing.T) {
				if diff := cmp.Diff(tt.want, IDs(v, strings.Split(tt.path, "."))); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestID(t *testing.T) {
	tests := []struct {
		in, want string
		ok       bool
	}{
		{`"a-b_c.1"`, "a-b_c.1", true},
		{`1`, "1", true},
		{`1.0`, "1", true},
		{`1e3`, "1000", true},
		{`9223372036854775807`, "9223372036854775807", true},
		{`null`, "", true},
		{`0`, "", false},
		{`-1`, "", false},
		{`1.5`, "", false},
		{`1e400`, "", false},
		{`true`, "", false},
		{`{}`, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			var id ID
			err := json.Unmarshal([]byte(tt.in), &id)
			if (err == nil) != tt.ok || string(id) != tt.want {
				t.Errorf("got %q, %v", id, err)
			}
		})
	}
}

func TestNodes(t *testing.T) {
	tests := []struct {
		name, in string
		want     Nodes
		ok       bool
	}{
		{"object, sorted", `{"b:80":1,"a:81":2.0,"a:80":0}`, Nodes{{Host: "a", Port: 80}, {Host: "a", Port: 81, Weight: 2}, {Host: "b", Port: 80, Weight: 1}}, true},
		{"object, addresses", `{"[::1]:80":1,"[::2]":1,"::3":1,"c":1}`, Nodes{{Host: "::3", Weight: 1}, {Host: "[::1]", Port: 80, Weight: 1}, {Host: "[::2]", Weight: 1}, {Host: "c", Weight: 1}}, true},
		{"array, in order", `[{"host":"b","port":1,"weight":1,"priority":-1},{"host":"a","weight":0,"metadata":{"z":"1"}}]`,
			Nodes{{Host: "b", Port: 1, Weight: 1, Priority: -1}, {Host: "a", Metadata: map[string]any{"z": "1"}}}, true},
		{"empty array", ` []`, Nodes{}, true},
		{"empty object", `{}`, Nodes{}, true},
		{"fractional weight", `{"a:1":1.5}`, nil, false},
		{"text weight", `{"a:1":"x"}`, nil, false},
		{"text", `"a:1"`, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var nodes Nodes
			err := json.Unmarshal([]byte(tt.in), &nodes)
			if (err == nil) != tt.ok {
				t.Fatalf("Unmarshal: %v", err)
			}
			if diff := cmp.Diff(tt.want, nodes); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSplitAddr(t *testing.T) {
	tests := []struct {
		addr, host string
		port       int
	}{
		{"a:80", "a", 80}, {"a", "a", 0}, {"1.2.3.4:65535", "1.2.3.4", 65535}, {"[::1]:80", "[::1]", 80}, {"[::1]", "[::1]", 0},
		{"::1", "::1", 0}, {"::ffff:1.2.3.4", "::ffff:1.2.3.4", 0}, {"a:", "a", 0}, {"a:x", "a", 0}, {"a:-1", "a", 0}, {"[::1", "[::1", 0},
		{"[::1]x:80", "[::1]x:80", 0}, {"", "", 0}, {"[", "[", 0}, {"[:", "[:", 0}, {"a:99999999999", "a", 0},
	}
	for _, tt := range tests {
		t.Run(tt.addr, func(t *testing.T) {
			if host, port := SplitAddr(tt.addr); host != tt.host || port != tt.port {
				t.Errorf("got %q, %d", host, port)
			}
		})
	}
}

func TestRouteDecodes(t *testing.T) {
	var route Route
	err := json.Unmarshal([]byte(`{"id":1,"uri":"/x","hosts":["a"],"labels":{"k":"v"},"create_time":2,"status":0,"service_id":"s",
		"vars":[["arg_a","==",1]],"plugins":{"p":{"a":1}},"timeout":{"connect":0.5,"send":1,"read":2},
		"upstream":{"nodes":{"h:1":1},"tls":{"client_cert_id":3}}}`), &route)
	if err != nil {
		t.Fatal(err)
	}
	off := 0
	want := Route{
		Meta: Meta{ID: "1", Labels: map[string]string{"k": "v"}, CreateTime: 2}, URI: "/x", Hosts: []string{"a"}, Status: &off, ServiceID: "s",
		Vars: json.RawMessage(`[["arg_a","==",1]]`), Plugins: Plugins{"p": json.RawMessage(`{"a":1}`)},
		Timeout:  &Timeout{Connect: 0.5, Send: 1, Read: 2},
		Upstream: &Upstream{Nodes: Nodes{{Host: "h", Port: 1, Weight: 1}}, TLS: &UpstreamTLS{ClientCertID: "3"}},
	}
	if diff := cmp.Diff(want, route); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var metadata PluginMetadata
	if err := json.Unmarshal([]byte(`{"id":"p","log_format":{}}`), &metadata); err != nil || metadata.ID != "p" || string(metadata.Raw) != `{"id":"p","log_format":{}}` {
		t.Errorf("metadata = %+v, %v", metadata, err)
	}
}

func FuzzDecodeUpstream(f *testing.F) {
	f.Add([]byte(`{"nodes":{"a:1":1,"[::1]:2":2.0}}`))
	f.Add([]byte(`{"id":1e3,"nodes":[{"host":"a","weight":1}]}`))
	f.Add([]byte(`{"nodes":null,"id":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var upstream Upstream
		if err := json.Unmarshal(data, &upstream); err != nil {
			return
		}
		for _, node := range upstream.Nodes {
			SplitAddr(node.Host)
		}
		if _, err := json.Marshal(upstream); err != nil {
			t.Errorf("does not encode again: %v", err)
		}
	})
}
