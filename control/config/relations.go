package config

import "net/netip"

// bound is one address that the configuration listens on.
type bound struct {
	field string
	ip    netip.Addr // invalid for every address
	line  int
}

// relations checks what several keys say together: no two listeners may want the same address.
func (p *parser) relations(root *section, c *Config) {
	used := map[int][]bound{} // by TCP port
	line := func(path ...string) int {
		s, n := root.node, 0
		for _, key := range path {
			if s == nil {
				return n
			}
			var next *node
			for _, e := range s.keys {
				if e.key == key {
					n, next = e.line, e.val
				}
			}
			s = next
		}
		return n
	}
	claim := func(field string, at int, a Addr) {
		if a.Port == 0 {
			return
		}
		ip, _ := netip.ParseAddr(a.IP)
		if ip.IsUnspecified() {
			ip = netip.Addr{}
		}
		for _, other := range used[a.Port] {
			if ip.IsValid() && other.ip.IsValid() && ip != other.ip {
				continue
			}
			if other.field == field {
				return // a listener that is written twice
			}
			p.fail(max(at, other.line), field, "port %d is already taken by %s", a.Port, other.field)
			return
		}
		used[a.Port] = append(used[a.Port], bound{field, ip, at})
	}

	a, d := &c.APISIX, &c.Deployment
	if a.EnableAdmin {
		claim("deployment.admin.admin_listen", line("deployment", "admin", "admin_listen"), d.Admin.Listen)
	}
	if a.Status != nil {
		claim("apisix.status", line("apisix", "status"), *a.Status)
	}
	if a.EnableControl {
		claim("apisix.control", line("apisix", "control"), a.Control)
	}
	if c.Prometheus.ExportServer {
		claim("plugin_attr.prometheus.export_addr", line("plugin_attr", "prometheus", "export_addr"), c.Prometheus.Listen)
	}
	if a.ProxyMode.HTTP() {
		at := line("apisix", "node_listen")
		for _, l := range a.NodeListen {
			claim("apisix.node_listen", at, l.Addr)
		}
		claim("apisix.proxy_protocol.listen_http_port", line("apisix", "proxy_protocol"), Addr{Port: a.ProxyProtocol.HTTPPort})
	}
	if a.ProxyMode.HTTP() && a.SSL.Enable {
		at := line("apisix", "ssl", "listen")
		for _, l := range a.SSL.Listen {
			claim("apisix.ssl.listen", at, l.Addr)
		}
		claim("apisix.proxy_protocol.listen_https_port", line("apisix", "proxy_protocol"), Addr{Port: a.ProxyProtocol.HTTPSPort})
	}
}
