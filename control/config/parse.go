package config

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Load reads the file at path. Without a path it returns the defaults with the environment applied. env looks
// up environment variables as os.LookupEnv does. The error joins an *Error for each problem; the warnings are
// returned in either case.
func Load(path string, env func(string) (string, bool)) (*Config, []Warning, error) {
	if path == "" {
		return Parse("config.yaml", nil, env)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	return Parse(path, data, env)
}

// Parse reads data; name stands for the file in messages. See Load for env and the results.
//
// Precedence, later wins: Default, what nginx_config sets (timeouts, body size, access log, log level, worker
// processes), APISIX_WORKER_PROCESSES, the section sluice, SLUICE_DATA_DIR.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Config, []Warning, error) {
	ps := &problems{file: name}
	t := &tree{problems: ps, env: env}
	p := &parser{problems: ps}
	c := Default()

	root := p.section("", t.parse(data))
	apisix := root.object("apisix")
	p.apisix(apisix, &c.APISIX)
	p.deployment(root.object("deployment"), c, apisix, root.object("admin"))
	p.nginx(root.object("nginx_config"), c)
	p.workers(c, env)
	p.plugins(root, c)
	p.sluice(root.object("sluice"), c)
	p.environment(c, env)
	p.relations(root, c)
	p.unknown()

	if err := ps.err(); err != nil {
		return nil, ps.warnings(), err
	}
	return c, ps.warnings(), nil
}

func (p *parser) apisix(s *section, a *APISIX) {
	if n := s.get("id"); n != nil {
		if n.kind != kindString && n.kind != kindInt {
			s.wrong(n, s.field("id"), "a string")
		}
		a.ID = n.text
	}
	p.nodeListen(s, a)
	s.bool("enable_admin", &a.EnableAdmin)
	s.bool("enable_control", &a.EnableControl)
	s.bool("enable_dev_mode", &a.EnableDevMode)
	s.bool("enable_ipv6", &a.EnableIPv6)
	s.bool("enable_http2", &a.EnableHTTP2)
	s.bool("enable_server_tokens", &a.EnableServerToken)
	s.bool("show_upstream_status_in_response_header", &a.ShowUpstreamStatus)
	s.bool("delete_uri_tail_slash", &a.DeleteURITailSlash)
	s.bool("normalize_uri_like_servlet", &a.NormalizeURILikeServlet)
	s.bool("match_uri_encoded_slash", &a.MatchURIEncodedSlash)
	s.bool("disable_upstream_healthcheck", &a.DisableUpstreamHealthcheck)
	s.bool("tracing", &a.Tracing)
	s.addr("control", &a.Control)
	if s.get("status") != nil {
		a.Status = &Addr{IP: "127.0.0.1", Port: 7085}
	}
	s.addr("status", a.Status)

	megabytes := int(a.MaxPostArgsSize / mib)
	s.integer("max_post_args_readable_size", &megabytes, 0, 1<<20)
	a.MaxPostArgsSize = int64(megabytes) * mib

	p.ssl(s.object("ssl"), &a.SSL)
	pp := s.object("proxy_protocol")
	pp.integer("listen_http_port", &a.ProxyProtocol.HTTPPort, 0, 65535)
	pp.integer("listen_https_port", &a.ProxyProtocol.HTTPSPort, 0, 65535)
	pp.bool("enable_tcp_pp", &a.ProxyProtocol.TCP)
	pp.bool("enable_tcp_pp_to_upstream", &a.ProxyProtocol.TCPToUpstream)

	r := s.object("router")
	r.oneOf("http", &a.Router.HTTP, RouterURI, RouterHostURI, RouterURIWithParameter)
	r.oneOf("ssl", &a.Router.SSL, "radixtree_sni")
	s.oneOf("proxy_mode", (*string)(&a.ProxyMode), "http", "stream", "http&stream")
	p.streamProxy(s.object("stream_proxy"), a)
	if n := s.get("stream_proxy"); n != nil && !a.ProxyMode.Stream() {
		p.warn(n.line, s.field("stream_proxy"), "has no effect unless apisix.proxy_mode is stream or http&stream")
	}

	p.resolver(s, a)
	p.proxyCache(s.object("proxy_cache"), &a.ProxyCache)
	p.dataEncryption(s.object("data_encryption"), &a.DataEncryption)
	s.prefixes("trusted_addresses", &a.TrustedAddresses)

	lru := s.object("lru").object("secret")
	lru.duration("ttl", &a.SecretCache.TTL, 0, maxDuration)
	lru.integer("count", &a.SecretCache.Count, 1, 1<<20)
	lru.duration("neg_ttl", &a.SecretCache.NegTTL, 0, maxDuration)
	lru.integer("neg_count", &a.SecretCache.NegCount, 1, 1<<20)

	s.ignore("there is no Lua", "extra_lua_path", "extra_lua_cpath", "lua_module_hook")
	s.accept("enable_reuseport", "disable_sync_configuration_during_start", "worker_startup_time_threshold", "events")
}

func (p *parser) nodeListen(s *section, a *APISIX) {
	n := s.get("node_listen")
	if n == nil {
		return
	}
	field := s.field("node_listen")
	switch n.kind {
	case kindInt, kindObject:
		a.NodeListen = []Listen{{p.listener(n, field, 9080, "a port, a list or an object")}}
	case kindList:
		a.NodeListen = nil
		for i, it := range n.items {
			l := Listen{p.listener(it, index(field, i), 9080, "a port or an object")}
			if l.Port != 0 && slices.Contains(a.NodeListen, l) {
				p.warn(it.line, index(field, i), "stands there twice, it is listened on once")
				continue
			}
			a.NodeListen = append(a.NodeListen, l)
		}
	default:
		s.wrong(n, field, "a port, a list or an object")
	}
}

// listener reads one entry of node_listen.
func (p *parser) listener(n *node, field string, port int, want string) Addr {
	a := Addr{Port: port}
	item := p.section(field, nil)
	switch n.kind {
	case kindInt:
		item.integerOf(n, field, &a.Port, 0, 65535)
		return a
	case kindObject:
		item.node = n
	default:
		item.wrong(n, field, want)
	}
	item.addrFields(&a)
	item.perPortHTTP2()
	return a
}

// perPortHTTP2 names the key that APISIX took out in 3.9.
func (s *section) perPortHTTP2() {
	if n := s.get("enable_http2"); n != nil {
		s.p.warn(n.line, s.field("enable_http2"), "is not a setting of one port any more, ignored: set apisix.enable_http2")
	}
}

// addr reads an object {ip, port}.
func (s *section) addr(key string, dst *Addr) {
	sub := s.object(key)
	if dst == nil {
		dst = new(Addr)
	}
	sub.addrFields(dst)
}

// addrFields reads ip and port. Port 0 lets the kernel choose one.
func (s *section) addrFields(dst *Addr) {
	var ip string
	s.text("ip", &ip)
	if ip != "" {
		if a, err := netip.ParseAddr(strings.Trim(ip, "[]")); err == nil {
			dst.IP = a.String()
		} else {
			s.p.fail(s.get("ip").line, s.field("ip"), "expected an IP address such as 127.0.0.1, got %s", quote(ip))
		}
	}
	s.integer("port", &dst.Port, 0, 65535)
}

func (p *parser) ssl(s *section, ssl *SSL) {
	s.bool("enable", &ssl.Enable)
	if items, ok := s.list("listen"); ok {
		ssl.Listen = nil
		for i, it := range items {
			field := index(s.field("listen"), i)
			if it.kind != kindObject {
				s.wrong(it, field, "an object with port")
				continue
			}
			item, l := p.section(field, it), SSLListen{Addr: Addr{Port: 9443}}
			item.addrFields(&l.Addr)
			item.bool("enable_http3", &l.HTTP3)
			item.perPortHTTP2()
			ssl.Listen = append(ssl.Listen, l)
		}
	}
	var protocols, ciphers string
	s.text("ssl_protocols", &protocols)
	if n := s.get("ssl_protocols"); n != nil && n.kind == kindString {
		ssl.Protocols = nil
		written := strings.Fields(protocols)
		for _, known := range []string{"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"} {
			for _, w := range written {
				if w == known {
					ssl.Protocols = append(ssl.Protocols, known)
					break
				}
			}
		}
		if len(ssl.Protocols) != len(written) || len(written) == 0 {
			p.fail(n.line, s.field("ssl_protocols"),
				"expected some of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3 with blanks between them, got %s", quote(protocols))
		}
	}
	s.text("ssl_ciphers", &ciphers)
	if ciphers != "" {
		ssl.Ciphers = strings.Split(ciphers, ":")
	}
	s.bool("ssl_session_tickets", &ssl.SessionTickets)
	s.text("ssl_trusted_certificate", &ssl.TrustedCertificate)
	s.text("fallback_sni", &ssl.FallbackSNI)
}

func (p *parser) streamProxy(s *section, a *APISIX) {
	items, _ := s.list("tcp")
	for i, it := range items {
		l := StreamListen{ProxyProtocol: a.ProxyProtocol.TCP, ProxyProtocolToUpstream: a.ProxyProtocol.TCPToUpstream}
		field := index(s.field("tcp"), i)
		if it.kind == kindObject {
			item := p.section(field, it)
			addr := item.get("addr")
			if addr == nil {
				p.fail(it.line, item.field("addr"), "is required")
				continue
			}
			item.bool("tls", &l.TLS)
			item.bool("proxy_protocol", &l.ProxyProtocol)
			item.bool("proxy_protocol_to_upstream", &l.ProxyProtocolToUpstream)
			field, it = item.field("addr"), addr
		}
		if p.streamAddr(it, field, "a port, an address or an object", &l) {
			a.StreamTCP = append(a.StreamTCP, l)
		}
	}
	items, _ = s.list("udp")
	for i, it := range items {
		var l StreamListen
		if p.streamAddr(it, index(s.field("udp"), i), "a port or an address", &l) {
			a.StreamUDP = append(a.StreamUDP, l)
		}
	}
}

// streamAddr reads 9100, "9100", "2000-2100", "127.0.0.1:9100", "[::1]:9100" or an address with a range.
func (p *parser) streamAddr(n *node, field, want string, l *StreamListen) bool {
	if n.kind != kindInt && n.kind != kindString {
		p.fail(n.line, field, "expected %s, got %s", want, n.kind.describe())
		return false
	}
	ports := n.text
	if i := strings.LastIndexByte(ports, ':'); i >= 0 {
		ip, err := netip.ParseAddr(strings.Trim(ports[:i], "[]"))
		if err != nil {
			p.fail(n.line, field, "expected an IP address before the port, got %s", quote(n.text))
			return false
		}
		l.IP, ports = ip.String(), ports[i+1:]
	}
	first, last, isRange := strings.Cut(ports, "-")
	if !isRange {
		last = first
	}
	lo, err1 := strconv.ParseUint(first, 10, 16)
	hi, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || hi < lo || lo == 0 && hi != 0 {
		p.fail(n.line, field, "expected a port from 1 to 65535 or a range such as 2000-2100, got %s", quote(n.text))
		return false
	}
	l.Port, l.PortEnd = int(lo), int(hi)
	return true
}

func (p *parser) resolver(s *section, a *APISIX) {
	var servers []string
	s.texts("dns_resolver", &servers)
	for i, text := range servers {
		field := index(s.field("dns_resolver"), i)
		ap, err := netip.ParseAddrPort(text)
		if err != nil {
			addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
			if err != nil || addr.Zone() != "" {
				p.fail(s.get("dns_resolver").items[i].line, field, "expected an IP address, with :port or without, got %s", quote(text))
				continue
			}
			ap = netip.AddrPortFrom(addr, 53)
		}
		a.DNSResolver = append(a.DNSResolver, ap.String())
	}
	s.duration("dns_resolver_valid", &a.DNSResolverValid, 0, maxDuration)
	s.duration("resolver_timeout", &a.ResolverTimeout, time.Millisecond, time.Hour)
	s.bool("enable_resolv_search_opt", &a.EnableResolvSearch)
}

func (p *parser) proxyCache(s *section, pc *ProxyCache) {
	s.duration("cache_ttl", &pc.TTL, 0, maxDuration)
	items, ok := s.list("zones")
	if !ok {
		return
	}
	pc.Zones = nil
	seen := map[string]bool{}
	for i, it := range items {
		field := index(s.field("zones"), i)
		if it.kind != kindObject {
			s.wrong(it, field, "an object with name and memory_size")
			continue
		}
		z, item := CacheZone{}, p.section(field, it)
		item.text("name", &z.Name)
		item.size("memory_size", &z.MemorySize, 1, 1<<50)
		item.size("disk_size", &z.DiskSize, 1, 1<<50)
		item.text("disk_path", &z.DiskPath)
		item.text("cache_levels", &z.Levels)
		item.require("name", "memory_size")
		if z.DiskPath != "" || z.DiskSize != 0 || z.Levels != "" {
			item.require("disk_size", "disk_path", "cache_levels")
		}
		if seen[z.Name] {
			p.fail(it.line, item.field("name"), "another zone is named %s", quote(z.Name))
		}
		seen[z.Name] = true
		pc.Zones = append(pc.Zones, z)
	}
}

// require reports the keys that the section does not have.
func (s *section) require(keys ...string) {
	for _, key := range keys {
		if s.get(key) == nil {
			s.p.fail(s.node.line, s.field(key), "is required")
		}
	}
}

func (p *parser) dataEncryption(s *section, d *DataEncryption) {
	s.bool("enable_encrypt_fields", &d.EnableEncryptFields)
	n := s.lookup("keyring")
	if n == nil {
		return
	}
	d.Keyring = nil // null too: APISIX stores plain text without a keyring
	items, single := n.items, false
	switch n.kind {
	case kindNull:
		return
	case kindList:
	default:
		items, single = []*node{n}, true
	}
	for i, it := range items {
		field := s.field("keyring")
		if !single {
			field = index(field, i)
		}
		key, ok := it.asText()
		switch {
		case !ok:
			s.wrong(it, field, "a string")
		case len(key) != 16 && len(key) != 32:
			p.fail(it.line, field, "expected a key of 16 or 32 bytes, got %d bytes", len(key))
		default:
			d.Keyring = append(d.Keyring, Secret(key))
		}
	}
}
