package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// setup is the work that a contender is configured for. All contenders of a case get the same, so far as each of
// them has the feature.
type setup struct {
	routes int  // 1: everything goes to the upstream; else one prefix /svc-N/ per route
	chain  bool // key-auth, limit-count and prometheus; only Sluice has them
	stream bool // the answer must leave as it arrives
	tuned  bool // what an operator sets who knows that the bodies are large; else the program's defaults
}

const (
	// upstreamConnections is how many idle upstream connections a proxy may keep; more than any case uses.
	upstreamConnections = 256
	// manyRequests stands for "do not close a connection after so and so many requests".
	manyRequests = 1_000_000_000

	adminKey = "bench-admin-key"
	apiKey   = "bench-consumer-key"
)

// nginxConfig renders a configuration with one worker, keep-alive on both sides, X-Forwarded-For and no logs.
// Buffers are nginx's defaults unless the setup is tuned: larger default-style pools were measured and are slower
// (glibc returns 16 x 64 KiB to the kernel after every request), one large buffer without buffering is faster.
func nginxConfig(s setup, dir string, port, upstream int, root bool) string {
	var b strings.Builder
	if root {
		// Otherwise the worker changes to a user that may not enter the temporary folder.
		b.WriteString("user root;\n")
	}
	fmt.Fprintf(&b, `daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %[1]s/nginx-body;
  proxy_temp_path %[1]s/nginx-proxy;
  fastcgi_temp_path %[1]s/nginx-fastcgi;
  uwsgi_temp_path %[1]s/nginx-uwsgi;
  scgi_temp_path %[1]s/nginx-scgi;
  keepalive_timeout 60s;
  keepalive_requests %[2]d;
  upstream origin {
    server 127.0.0.1:%[3]d;
    keepalive %[4]d;
    keepalive_requests %[2]d;
  }
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
`, dir, manyRequests, upstream, upstreamConnections)
	if s.stream {
		b.WriteString("  proxy_buffering off;\n")
	}
	if s.tuned {
		b.WriteString("  proxy_buffering off;\n  proxy_buffer_size 120k;\n  proxy_buffers 8 64k;\n")
	}
	fmt.Fprintf(&b, "  server {\n    listen 127.0.0.1:%d backlog=4096;\n", port)
	if s.routes == 1 {
		b.WriteString("    location / { proxy_pass http://origin; }\n")
	} else {
		for i := range s.routes {
			fmt.Fprintf(&b, "    location %s { proxy_pass http://origin; }\n", routePrefix(i))
		}
	}
	b.WriteString("  }\n}\n")
	return b.String()
}

// haproxyConfig renders a configuration with one thread, keep-alive and connection reuse, X-Forwarded-For and no
// logs. Routes are looked up in the prefix map file mapPath, see haproxyMap.
func haproxyConfig(s setup, mapPath string, port, upstream int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `global
  nbthread 1
  maxconn 4096

defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
`)
	if s.stream {
		// Without it HAProxy holds small chunks back for up to 200 ms: cheaper, but not the same work.
		b.WriteString("  option http-no-delay\n")
	}
	if s.tuned {
		b.WriteString("  option splice-response\n")
	}
	fmt.Fprintf(&b, "\nfrontend bench\n  bind 127.0.0.1:%d backlog 4096\n", port)
	if s.routes == 1 {
		b.WriteString("  default_backend origin\n")
	} else {
		fmt.Fprintf(&b, "  use_backend %%[path,map_beg(%s)]\n", mapPath)
	}
	fmt.Fprintf(&b, "\nbackend origin\n  server origin 127.0.0.1:%d\n", upstream)
	return b.String()
}

// haproxyMap renders the map file of a setup with several routes.
func haproxyMap(routes int) string {
	var b strings.Builder
	for i := range routes {
		fmt.Fprintf(&b, "%s origin\n", routePrefix(i))
	}
	return b.String()
}

// routePrefix is the path prefix of a route; load.c fills in the same numbers.
func routePrefix(i int) string { return fmt.Sprintf("/svc-%d/", i) }

// sluicePorts are the ports a Sluice process listens on.
type sluicePorts struct {
	proxy, admin, control, status, metrics int
}

// sluiceConfig renders a config.yaml of APISIX's shape with one event loop and no access log.
func sluiceConfig(dir string, p sluicePorts) string {
	return fmt.Sprintf(`apisix:
  node_listen:
    - ip: 127.0.0.1
      port: %d
  enable_admin: true
  control:
    ip: 127.0.0.1
    port: %d
  status:
    ip: 127.0.0.1
    port: %d
deployment:
  admin:
    admin_key:
      - name: admin
        key: %s
        role: admin
    admin_listen:
      ip: 127.0.0.1
      port: %d
nginx_config:
  http:
    enable_access_log: false
plugin_attr:
  prometheus:
    export_addr:
      ip: 127.0.0.1
      port: %d
sluice:
  data_dir: %s/sluice-data
  l7:
    loops: 1
`, p.proxy, p.control, p.status, adminKey, p.admin, p.metrics, dir)
}

// resource is one object to PUT through the Admin API.
type resource struct {
	path string // below /apisix/admin
	body string
}

type object = map[string]any

// sluiceResources lists the objects of a setup, in the order in which they must be written. A single route
// carries its upstream inline; many routes share one upstream, as the prefixes of nginx and HAProxy do.
func sluiceResources(s setup, upstream int) []resource {
	origin := object{
		"type":  "roundrobin",
		"nodes": object{fmt.Sprintf("127.0.0.1:%d", upstream): 1},
		"keepalive_pool": object{
			"size": upstreamConnections, "idle_timeout": 60, "requests": manyRequests,
		},
	}
	var out []resource
	plugins := object{}
	if s.chain {
		out = append(out, put("consumers", object{
			"username": "bench",
			"plugins":  object{"key-auth": object{"key": apiKey}},
		}))
		plugins = object{
			"key-auth": object{},
			"limit-count": object{
				"count": manyRequests, "time_window": 86400, "rejected_code": 503,
				"key_type": "var", "key": "remote_addr", "policy": "local",
			},
			"prometheus": object{},
		}
	}
	if s.routes == 1 {
		return append(out, put("routes/all", object{"uri": "/*", "plugins": plugins, "upstream": origin}))
	}
	out = append(out, put("upstreams/origin", origin))
	for i := range s.routes {
		out = append(out, put(fmt.Sprintf("routes/svc-%d", i), object{
			"uri": routePrefix(i) + "*", "plugins": plugins, "upstream_id": "origin",
		}))
	}
	return out
}

func put(path string, body object) resource {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // maps of strings and numbers always encode
	}
	return resource{path: path, body: string(text)}
}
