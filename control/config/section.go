package config

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parser reads typed values out of a tree. Readers write to their destination only when the file has the key
// with a value that is right, so that the destination keeps its default otherwise.
type parser struct {
	*problems
	sections []*section
}

// section is one object of the file, or the absence of one: then its node is nil and readers only note which
// keys exist.
type section struct {
	p     *parser
	path  string
	node  *node
	known []string
	open  bool // any key is right
}

func (p *parser) section(path string, n *node) *section {
	s := &section{p: p, path: path, node: n}
	p.sections = append(p.sections, s)
	return s
}

// lookup notes that key is known and returns its value, nulls included; nil when the file does not have it.
func (s *section) lookup(key string) *node {
	s.known = append(s.known, key)
	if s.node == nil {
		return nil
	}
	for _, e := range s.node.keys {
		if e.key == key {
			return e.val
		}
	}
	return nil
}

// get is lookup for keys where null is the same as nothing.
func (s *section) get(key string) *node {
	if n := s.lookup(key); n != nil && n.kind != kindNull {
		return n
	}
	return nil
}

func (s *section) field(key string) string { return join(s.path, key) }

// wrong reports that n is not what key takes.
func (s *section) wrong(n *node, field, want string) {
	s.p.fail(n.line, field, "expected %s, got %s", want, n.kind.describe())
}

func (s *section) bool(key string, dst *bool) {
	n := s.get(key)
	if n == nil {
		return
	}
	if b, ok := n.asBool(); ok {
		*dst = b
		return
	}
	s.wrong(n, s.field(key), "true or false")
}

// asBool reads true and false, and the plain words on, off, yes and no: the YAML of APISIX is 1.1.
func (n *node) asBool() (value, ok bool) {
	if n.kind == kindBool {
		return n.b, true
	}
	if n.kind == kindString && n.plain {
		switch strings.ToLower(n.text) {
		case "on", "yes":
			return true, true
		case "off", "no":
			return false, true
		}
	}
	return false, false
}

// onOff reads an NGINX flag: "on" or "off" in quotes, or a boolean.
func (s *section) onOff(key string, dst *bool) {
	n := s.get(key)
	if n == nil {
		return
	}
	b, ok := n.asBool()
	if n.kind == kindString && (n.text == "on" || n.text == "off") {
		b, ok = n.text == "on", true
	}
	if !ok {
		s.wrong(n, s.field(key), `"on" or "off"`)
		return
	}
	*dst = b
}

func (s *section) integer(key string, dst *int, lo, hi int) {
	if n := s.get(key); n != nil {
		s.integerOf(n, s.field(key), dst, lo, hi)
	}
}

func (s *section) integerOf(n *node, field string, dst *int, lo, hi int) {
	switch {
	case n.kind != kindInt:
		s.wrong(n, field, "an integer")
	case n.i < int64(lo) || n.i > int64(hi):
		s.p.fail(n.line, field, "expected an integer from %d to %d, got %d", lo, hi, n.i)
	default:
		*dst = int(n.i)
	}
}

// asText reads a string. What the environment gave is text whatever it looks like.
func (n *node) asText() (string, bool) { return n.text, n.kind == kindString || n.env }

func (s *section) text(key string, dst *string) {
	n := s.get(key)
	if n == nil {
		return
	}
	v, ok := n.asText()
	if !ok {
		s.wrong(n, s.field(key), "a string")
		return
	}
	*dst = v
}

func (s *section) secret(key string, dst *Secret) { s.text(key, (*string)(dst)) }

func (s *section) oneOf(key string, dst *string, allowed ...string) {
	n := s.get(key)
	if n == nil {
		return
	}
	want := "one of " + strings.Join(allowed, ", ")
	v, ok := n.asText()
	if !ok {
		s.wrong(n, s.field(key), want)
		return
	}
	if !slices.Contains(allowed, v) {
		msg := "expected " + want + ", got " + quote(v)
		if near := Nearest(v, allowed); near != "" {
			msg += ": did you mean " + near + "?"
		}
		s.p.fail(n.line, s.field(key), "%s", msg)
		return
	}
	*dst = v
}

// size reads bytes: an integer, or a string with the suffix k, m or g.
func (s *section) size(key string, dst *int64, lo, hi int64) {
	n := s.get(key)
	if n == nil {
		return
	}
	v, ok := n.i, n.kind == kindInt
	if n.kind == kindString {
		v, ok = parseSize(n.text)
		if !ok {
			s.p.fail(n.line, s.field(key), `expected a size such as 4096, "32k", "1m" or "1g", got %s`, quote(n.text))
			return
		}
	}
	if !ok {
		s.wrong(n, s.field(key), `a size such as 4096, "32k" or "1m"`)
		return
	}
	if v < lo || v > hi {
		s.p.fail(n.line, s.field(key), "expected from %d to %d bytes, got %d", lo, hi, v)
		return
	}
	*dst = v
}

func parseSize(text string) (int64, bool) {
	unit := int64(1)
	if text != "" {
		switch text[len(text)-1] {
		case 'k', 'K':
			unit = kib
		case 'm', 'M':
			unit = mib
		case 'g', 'G':
			unit = gib
		}
	}
	if unit > 1 {
		text = text[:len(text)-1]
	}
	v, err := strconv.ParseUint(text, 10, 63)
	if err != nil || int64(v) > math.MaxInt64/unit {
		return 0, false
	}
	return int64(v) * unit, true
}

const maxDuration = 365 * 24 * time.Hour

// duration reads a time: a number of seconds, or a string such as "10s", "1m30s" or "1d".
func (s *section) duration(key string, dst *time.Duration, lo, hi time.Duration) {
	n := s.get(key)
	if n == nil {
		return
	}
	var v time.Duration
	switch n.kind {
	case kindInt, kindFloat:
		// Compared as a float: the conversion of a number that does not fit is not defined.
		if n.f < lo.Seconds() || n.f > hi.Seconds() {
			s.p.fail(n.line, s.field(key), "expected from %s to %s, got %s seconds", lo, hi, strconv.FormatFloat(n.f, 'g', -1, 64))
			return
		}
		v = time.Duration(n.f * float64(time.Second))
	case kindString:
		var ok bool
		if v, ok = parseDuration(n.text); !ok {
			s.p.fail(n.line, s.field(key), `expected a time such as 10, "10s", "500ms" or "1m30s", got %s`, quote(n.text))
			return
		}
	default:
		s.wrong(n, s.field(key), `a time such as 10 or "10s"`)
		return
	}
	if v < lo || v > hi {
		s.p.fail(n.line, s.field(key), "expected from %s to %s, got %s", lo, hi, v)
		return
	}
	*dst = v
}

func parseDuration(text string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > uint64(maxDuration/(24*time.Hour)) {
			return 0, false
		}
		return time.Duration(n) * 24 * time.Hour, true
	}
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(n) * time.Second, true
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}

// list returns the items of a list; ok is false when the file does not have one.
func (s *section) list(key string) (items []*node, ok bool) {
	n := s.get(key)
	if n == nil {
		return nil, false
	}
	if n.kind != kindList {
		s.wrong(n, s.field(key), "a list")
		return nil, false
	}
	return n.items, true
}

func (s *section) texts(key string, dst *[]string) {
	items, ok := s.list(key)
	if !ok {
		return
	}
	out := make([]string, 0, len(items))
	for i, it := range items {
		v, ok := it.asText()
		if !ok {
			s.wrong(it, index(s.field(key), i), "a string")
			continue
		}
		out = append(out, v)
	}
	*dst = out
}

// prefixes reads addresses and CIDR blocks. NGINX's "unix:" is skipped: no listener of ours is a Unix socket.
func (s *section) prefixes(key string, dst *[]netip.Prefix) {
	var texts []string
	items, ok := s.list(key)
	if !ok {
		return
	}
	s.known = s.known[:len(s.known)-1] // texts notes the key again
	s.texts(key, &texts)
	if len(texts) != len(items) {
		return
	}
	out := make([]netip.Prefix, 0, len(texts))
	for i, text := range texts {
		if text == "unix:" {
			continue
		}
		p, ok := parsePrefix(text)
		if !ok {
			s.p.fail(items[i].line, index(s.field(key), i),
				"expected an IP address or a CIDR block such as 10.0.0.0/8, got %s", quote(text))
			continue
		}
		out = append(out, p)
	}
	*dst = out
}

func parsePrefix(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	return p.Masked(), true
}

// object opens the object under key.
func (s *section) object(key string) *section {
	n := s.get(key)
	if n != nil && n.kind != kindObject {
		s.wrong(n, s.field(key), "an object")
		n = nil
	}
	return s.p.section(s.field(key), n)
}

// has says that the file has this section.
func (s *section) has() bool { return s.node != nil }

// ignore names keys of APISIX that mean nothing here, and says so when the file has one.
func (s *section) ignore(why string, keys ...string) {
	for _, key := range keys {
		if n := s.get(key); n != nil && !n.blank() {
			s.p.warn(n.line, s.field(key), "has no meaning in Sluice: %s", why)
		}
	}
}

// accept names keys of APISIX whose purpose is met whatever their value is.
func (s *section) accept(keys ...string) {
	s.known = append(s.known, keys...)
}

// blank is true for snippets that hold nothing but comments, and for false.
func (n *node) blank() bool {
	if n.kind == kindBool {
		return !n.b
	}
	if n.kind != kindString {
		return false
	}
	for line := range strings.Lines(n.text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return false
		}
	}
	return true
}

// unknown warns about the keys that no reader asked for.
func (p *parser) unknown() {
	var paths []string
	for _, s := range p.sections {
		for _, k := range s.known {
			paths = append(paths, join(s.path, k))
		}
	}
	for _, s := range p.sections {
		if s.node == nil || s.open {
			continue
		}
		for _, e := range s.node.keys {
			if len(p.warns) >= maxProblems {
				return
			}
			if slices.Contains(s.known, e.key) {
				continue
			}
			hint := ""
			if near := Nearest(e.key, s.known); near != "" {
				hint = ": did you mean " + near + "?"
			} else if elsewhere := sameKey(e.key, paths); elsewhere != "" {
				hint = ": it belongs under " + elsewhere
			}
			p.warn(e.line, s.field(e.key), "unknown key, ignored%s", hint)
		}
	}
}

// sameKey finds the shortest path outside lists that ends in key.
func sameKey(key string, paths []string) string {
	best := ""
	for _, path := range paths {
		if strings.HasSuffix(path, "."+key) && !strings.Contains(path, "[") && (best == "" || len(path) < len(best)) {
			best = path
		}
	}
	return best
}

func quote(s string) string {
	if len(s) > 64 {
		s = s[:61] + "..."
	}
	return strconv.QuoteToGraphic(s)
}
