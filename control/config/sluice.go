package config

import (
	"strconv"
	"time"
)

const (
	maxLoops = 4096
	maxWait  = 24 * time.Hour
)

func (p *parser) sluice(s *section, c *Config) {
	v := &c.Sluice
	s.text("data_dir", &v.DataDir)
	if !c.APISIX.EnableServerToken {
		v.ServerHeader = "APISIX"
	}
	s.text("server_header", &v.ServerHeader)
	if n := s.get("server_header"); n != nil && !fieldValue(v.ServerHeader) {
		p.fail(n.line, s.field("server_header"), "expected visible characters and single blanks, at most 256")
	}
	s.duration("shutdown_timeout", &v.ShutdownTimeout, 0, maxWait)

	log := s.object("log")
	log.oneOf("level", &v.Log.Level, "debug", "info", "warn", "error")
	log.oneOf("format", &v.Log.Format, "text", "json")

	al := s.object("access_log")
	p.accessLogPath(al, &v.AccessLog)
	al.text("format", &v.AccessLog.Format)
	al.oneOf("format_escape", &v.AccessLog.Escape, "default", "json", "none")
	al.size("buffer_bytes", &v.AccessLog.BufferBytes, 0, 64*mib)
	al.duration("flush_interval", &v.AccessLog.FlushInterval, time.Millisecond, time.Hour)

	l7 := s.object("l7")
	l7.integer("loops", &v.L7.Loops, 0, maxLoops)
	p.limits(l7.object("limits"), &v.L7.Limits)

	l4 := s.object("l4")
	l4.integer("max_connections", &v.L4.MaxConnections, 1, 1<<30)
	l4.integer("udp_sessions", &v.L4.UDPSessions, 1, 1<<24)
	l4.duration("hello_timeout", &v.L4.HelloTimeout, time.Millisecond, maxWait)

	l4.text("pin_dir", &v.L4.PinDir)
	p.steer(l4, &v.L4.Steer)

	admin := s.object("admin")
	admin.size("body_bytes", &v.Admin.BodyBytes, kib, gib)
}

// accessLogPath reads sluice.access_log.path; off without quotes is a boolean in the YAML of APISIX.
func (p *parser) accessLogPath(s *section, l *AccessLog) {
	if n := s.get("path"); n != nil && n.kind == kindBool && !n.b {
		l.Path = "off"
		return
	}
	s.text("path", &l.Path)
	if n := s.get("path"); n != nil && l.Path == "" {
		p.fail(n.line, s.field("path"), `expected a file, "-" for standard output, or off`)
	}
}

func (p *parser) limits(s *section, l *Limits) {
	s.size("header_bytes", &l.HeaderBytes, kib, 16*mib)
	s.integer("header_fields", &l.HeaderFields, 8, 10_000)
	s.size("target_bytes", &l.TargetBytes, 64, mib)
	s.size("chunk_ext_bytes", &l.ChunkExtBytes, 0, mib)
	s.size("trailer_bytes", &l.TrailerBytes, 0, mib)
	s.size("body_bytes", &l.BodyBytes, 0, 1<<50)
	s.size("buffered_body_bytes", &l.BufferedBodyBytes, 0, gib)
	s.duration("header_timeout", &l.HeaderTimeout, time.Millisecond, maxWait)
	s.duration("body_timeout", &l.BodyTimeout, time.Millisecond, maxWait)
	s.duration("write_timeout", &l.WriteTimeout, time.Millisecond, maxWait)
	s.duration("idle_timeout", &l.IdleTimeout, 0, maxWait)
	s.integer("keepalive_requests", &l.KeepaliveRequests, 0, 1<<30)
	s.integer("max_connections", &l.MaxConnections, 0, 1<<30)
	if l.TargetBytes > l.HeaderBytes {
		line := 0
		if n := s.get("target_bytes"); n != nil {
			line = n.line
		}
		if n := s.get("header_bytes"); n != nil {
			line = n.line
		}
		p.fail(line, s.field("target_bytes"), "is %d, more than header_bytes, which is %d", l.TargetBytes, l.HeaderBytes)
	}
}

// environment applies the variables that stand above the file.
func (p *parser) environment(c *Config, env func(string) (string, bool)) {
	if dir, ok := env("SLUICE_DATA_DIR"); ok && dir != "" {
		c.Sluice.DataDir = dir
	}
}

// workers applies apisix.enable_dev_mode and APISIX_WORKER_PROCESSES, which stand above nginx_config and below
// sluice.l7.loops.
func (p *parser) workers(c *Config, env func(string) (string, bool)) {
	if c.APISIX.EnableDevMode {
		c.Sluice.L7.Loops = 1
	}
	text, ok := env("APISIX_WORKER_PROCESSES")
	if !ok || text == "" || text == "auto" {
		return
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLoops {
		p.fail(0, "", "environment variable APISIX_WORKER_PROCESSES: expected a number from 1 to %d, got %s", maxLoops, quote(text))
		return
	}
	c.Sluice.L7.Loops = n
}

// fieldValue says whether s can stand in a header field (RFC 9110 section 5.5, without obs-text).
func fieldValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= 256 && (s == "" || s[0] != ' ' && s[len(s)-1] != ' ')
}
