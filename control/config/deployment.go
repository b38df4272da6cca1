package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// publicKeys are the admin keys of APISIX's documentation and of its files before 3.0; attackers try them first
// (CVE-2020-13945).
var publicKeys = []string{"edd1c9f034335f136f87ad84b625c8f1", "4054f7cf07e344346cd3f287985e76a2"}

// deployment reads the section of that name. The settings of the Admin API are also read from where older files and many instructions have them.
func (p *parser) deployment(s *section, c *Config, older ...*section) {
	d := &c.Deployment
	s.oneOf("role", &d.Role, RoleTraditional, RoleControlPlane, RoleDataPlane)
	traditional := d.ConfigProvider
	control, data := "", ""
	s.object("role_traditional").oneOf("config_provider", &traditional, "etcd", "yaml")
	s.object("role_control_plane").oneOf("config_provider", &control, "etcd")
	s.object("role_data_plane").oneOf("config_provider", &data, "etcd", "yaml", "json", "xds")
	line := 0
	if n := s.get("role"); n != nil {
		line = n.line
	}
	switch d.Role {
	case RoleTraditional:
		d.ConfigProvider = traditional
	case RoleControlPlane:
		d.ConfigProvider = control
		c.APISIX.EnableAdmin = true
	case RoleDataPlane:
		d.ConfigProvider = data
		c.APISIX.EnableAdmin = false
	}
	if d.ConfigProvider == "" {
		p.fail(line, s.field("role_"+d.Role)+".config_provider", "is required with deployment.role %s", d.Role)
	}
	p.admin(s.object("admin"), &d.Admin, older)
	p.etcd(s.object("etcd"), &d.Etcd)
}

func (p *parser) admin(s *section, a *Admin, older []*section) {
	p.adminKeyRequired(p.misplaced(s, "admin_key_required", older), a)
	p.adminKeys(p.misplaced(s, "admin_key", older), a)
	p.allowAdmin(p.misplaced(s, "allow_admin", older), a)
	s.bool("enable_admin_cors", &a.EnableCORS)
	s.bool("enable_admin_ui", &a.EnableUI)
	s.addr("admin_listen", &a.Listen)
	s.bool("https_admin", &a.HTTPS)
	m := s.object("admin_api_mtls")
	m.text("admin_ssl_cert", &a.MTLS.Cert)
	m.text("admin_ssl_cert_key", &a.MTLS.Key)
	m.text("admin_ssl_ca_cert", &a.MTLS.CA)
	if n := s.get("https_admin"); a.HTTPS && (a.MTLS.Cert == "" || a.MTLS.Key == "") {
		p.fail(n.line, s.field("https_admin"), "needs admin_api_mtls.admin_ssl_cert and admin_api_mtls.admin_ssl_cert_key")
	}
	s.oneOf("admin_api_version", &a.Version, "v3", "v2", "default")
	if a.Version == "default" {
		a.Version = "v2" // the name that APISIX has for it
	}
}

// misplaced is the section that key is read from: s, or one of older when only that has it.
func (p *parser) misplaced(s *section, key string, older []*section) *section {
	from := s
	for _, o := range older {
		n := o.lookup(key)
		switch {
		case n == nil:
		case s.lookup(key) != nil:
			p.warn(n.line, o.field(key), "is ignored, because the file has %s too", s.field(key))
		case from == s:
			p.warn(n.line, o.field(key), "is read, but its place since APISIX 3.0 is %s", s.field(key))
			from = o
		}
	}
	return from
}

func (p *parser) adminKeyRequired(s *section, a *Admin) {
	s.bool("admin_key_required", &a.KeyRequired)
	if n := s.get("admin_key_required"); n != nil && !a.KeyRequired {
		p.warn(n.line, s.field("admin_key_required"), "the Admin API is open to every address of deployment.admin.allow_admin")
	}
}

// allowAdmin reads allow_admin. As in APISIX, null means everybody, and an empty list nobody.
func (p *parser) allowAdmin(s *section, a *Admin) {
	n := s.lookup("allow_admin")
	if n != nil && n.kind == kindNull {
		p.warn(n.line, s.field("allow_admin"), "is null, which lets every address use the Admin API")
		a.AllowAdmin = everybody()
		return
	}
	if n != nil && n.kind == kindList && len(n.items) == 1 && n.items[0].text == "all" {
		a.AllowAdmin = everybody()
		return
	}
	s.prefixes("allow_admin", &a.AllowAdmin)
}

func everybody() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

func (p *parser) adminKeys(s *section, a *Admin) {
	items, ok := s.list("admin_key")
	if !ok {
		return
	}
	var empty []*node // admin entries without a key: one stands for "generate"
	for i, it := range items {
		field := index(s.field("admin_key"), i)
		if it.kind != kindObject {
			s.wrong(it, field, "an object with name, key and role")
			continue
		}
		item, k := p.section(field, it), AdminKey{Role: "admin"}
		item.text("name", &k.Name)
		item.oneOf("role", &k.Role, "admin", "viewer")
		key := item.get("key")
		if key != nil && (key.kind == kindInt || key.kind == kindFloat) { // an unquoted key that looks like a number
			k.Key = Secret(key.text)
		} else {
			item.secret("key", &k.Key)
		}
		switch {
		case k.Key == "" && k.Role == "admin":
			empty = append(empty, it)
			continue
		case k.Key == "":
			p.warn(it.line, item.field("key"), "is empty: this %s key is ignored", k.Role)
			continue
		case slices.Contains(publicKeys, string(k.Key)):
			p.warn(key.line, item.field("key"),
				"is printed in APISIX's documentation and therefore public: replace it, for instance by ${{SLUICE_ADMIN_KEY}}")
		}
		if slices.ContainsFunc(a.Keys, func(o AdminKey) bool { return o.Key == k.Key }) {
			p.fail(it.line, item.field("key"), "is the same as that of an earlier entry")
			continue
		}
		a.Keys = append(a.Keys, k)
	}
	a.GenerateKey = len(items) == 0 || len(empty) > 0 && !slices.ContainsFunc(a.Keys, AdminKey.writes)
	if !a.GenerateKey {
		for _, it := range empty {
			p.warn(it.line, s.field("admin_key"), "an entry without a key is ignored, because another entry has one")
		}
	}
}

// writes says that the key may change resources.
func (k AdminKey) writes() bool { return k.Role == "admin" }

func (p *parser) etcd(s *section, e *Etcd) {
	e.Configured = s.has()
	if e.Configured {
		p.warn(s.node.line, s.path, "is not contacted: resources are kept in the gateway's own store below sluice.data_dir")
	}
	s.texts("host", &e.Host)
	if n := s.get("host"); n != nil && n.kind == kindList {
		if len(n.items) == 0 {
			p.fail(n.line, s.field("host"), "needs at least one address")
		}
		for i, it := range n.items {
			if it.kind == kindString && !strings.HasPrefix(it.text, "http://") && !strings.HasPrefix(it.text, "https://") {
				p.fail(it.line, index(s.field("host"), i), "expected an address that begins with http:// or https://")
			}
		}
	}
	s.text("prefix", &e.Prefix)
	s.duration("timeout", &e.Timeout, time.Second, time.Hour)
	s.duration("watch_timeout", &e.WatchTimeout, time.Second, 24*time.Hour)
	s.duration("resync_delay", &e.ResyncDelay, 0, time.Hour)
	s.duration("health_check_timeout", &e.HealthCheckTimeout, -maxDuration, time.Hour)
	if e.HealthCheckTimeout < 0 {
		e.HealthCheckTimeout = 10 * time.Second // as APISIX reads a negative value
	}
	s.integer("startup_retry", &e.StartupRetry, 0, 1000)
	s.text("user", &e.User)
	s.secret("password", &e.Password)
	t := s.object("tls")
	t.text("cert", &e.TLS.Cert)
	t.text("key", &e.TLS.Key)
	t.bool("verify", &e.TLS.Verify)
	t.text("sni", &e.TLS.SNI)
}
