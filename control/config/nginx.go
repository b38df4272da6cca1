package config

import (
	"strings"
	"time"
)

// nginx reads what of nginx_config means something here. Some of it becomes the value of keys under sluice,
// which the section sluice may still override.
func (p *parser) nginx(s *section, c *Config) {
	logs := "the gateway logs to standard error"
	own := "NGINX directives do not apply"
	s.ignore(logs, "error_log")
	if n := s.get("error_log_level"); n != nil {
		level := ""
		s.oneOf("error_log_level", &level, "debug", "info", "notice", "warn", "error", "crit", "alert", "emerg")
		if slog, ok := map[string]string{"debug": "debug", "info": "info", "notice": "info", "warn": "warn"}[level]; ok {
			c.Sluice.Log.Level = slog
		} else if level != "" {
			c.Sluice.Log.Level = "error"
		}
	}
	if n := s.get("worker_processes"); n != nil && n.text != "auto" {
		s.integer("worker_processes", &c.Sluice.L7.Loops, 1, maxLoops)
	}
	s.duration("worker_shutdown_timeout", &c.Sluice.ShutdownTimeout, 0, 24*time.Hour)
	ev := s.object("event")
	ev.ignore("see sluice.l7.limits.max_connections", "worker_connections")

	s.ignore("the service manager sets the user", "user")
	s.ignore("${{NAME}} reads every environment variable", "envs")
	s.ignore("memory is not divided into zones", "meta")
	s.ignore("the limit on open files is raised to the hard limit", "worker_rlimit_nofile")
	s.ignore("timers are not counted", "max_pending_timers", "max_running_timers")
	s.ignore("the scheduler places event loops", "enable_cpu_affinity")
	s.ignore(own, "main_configuration_snippet", "http_configuration_snippet", "http_server_configuration_snippet",
		"http_server_location_configuration_snippet", "http_admin_configuration_snippet", "http_end_configuration_snippet",
		"stream_configuration_snippet")

	p.nginxHTTP(s.object("http"), c)
	p.nginxStream(s.object("stream"), &c.Nginx)
}

func (p *parser) nginxHTTP(s *section, c *Config) {
	p.nginxAccessLog(s, &c.Sluice.AccessLog, true)
	s.size("access_log_buffer", &c.Sluice.AccessLog.BufferBytes, 0, 64*mib)

	l := &c.Sluice.L7.Limits
	s.duration("keepalive_timeout", &l.IdleTimeout, 0, 24*time.Hour)
	s.duration("client_header_timeout", &l.HeaderTimeout, time.Millisecond, time.Hour)
	s.duration("client_body_timeout", &l.BodyTimeout, time.Millisecond, time.Hour)
	s.duration("send_timeout", &l.WriteTimeout, time.Millisecond, time.Hour)
	s.size("client_max_body_size", &l.BodyBytes, 0, 1<<50)

	underscores := false
	s.onOff("underscores_in_headers", &underscores)
	if underscores {
		p.warn(s.get("underscores_in_headers").line, s.field("underscores_in_headers"),
			"header fields with an underscore in their name are always dropped: origins may take them for others")
	}
	n := &c.Nginx
	s.text("real_ip_header", &n.RealIPHeader)
	s.onOff("real_ip_recursive", &n.RealIPRecursive)
	s.prefixes("real_ip_from", &n.RealIPFrom)
	s.onOff("proxy_ssl_server_name", &n.UpstreamTLSServerName)
	up := s.object("upstream")
	up.integer("keepalive", &n.Upstream.Size, 0, 1<<20)
	up.integer("keepalive_requests", &n.Upstream.Requests, 1, 1<<30)
	up.duration("keepalive_timeout", &n.Upstream.Idle, 0, 24*time.Hour)

	s.ignore("memory is not divided into zones", "lua_shared_dict", "custom_lua_shared_dict")
	s.ignore("the gateway adds no charset to Content-Type", "charset")
	s.accept("variables_hash_max_size")
}

func (p *parser) nginxStream(s *section, n *NginxConfig) {
	p.nginxAccessLog(s, &n.StreamAccessLog, false)
	s.prefixes("real_ip_from", &n.StreamRealIPFrom)
	s.ignore("memory is not divided into zones", "lua_shared_dict", "metrics_zone_size")
}

// nginxAccessLog reads the keys that http and stream share; on says whether the log is on by default.
func (p *parser) nginxAccessLog(s *section, l *AccessLog, on bool) {
	path := "logs/access_stream.log"
	if on {
		path = l.Path
	}
	s.bool("enable_access_log", &on)
	s.text("access_log", &path)
	if n := s.get("access_log"); n != nil && strings.HasPrefix(path, "syslog:") {
		p.fail(n.line, s.field("access_log"), "expected a path or off: logging to syslog is the syslog plugin's task")
	}
	if !on {
		path = "off"
	}
	l.Path = path
	if n := s.get("access_log_format"); n != nil {
		format := ""
		s.text("access_log_format", &format)
		if n.kind == kindString {
			l.Format = nginxString(format)
		}
	}
	s.oneOf("access_log_format_escape", &l.Escape, "default", "json", "none")
}

// nginxString undoes the escapes of a quoted NGINX parameter: APISIX pastes the format into nginx.conf, so
// users escape quotes. The newline that a YAML block leaves at the end goes too.
func nginxString(s string) string {
	s = strings.TrimRight(s, " \t\r\n")
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			switch s[i+1] {
			case '"', '\'', '\\':
				i++
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
