// Package regex compiles the regular expressions that APISIX users write, which are PCRE patterns with the option letters of ngx.re.
//
// Go's regexp serves every pattern that it can compile, in linear time. What needs more (look-around, back references, atomic groups) runs on a
// backtracking engine under a time limit, so that no pattern and no input can hold a request for longer than [MatchTimeout].
package regex

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// MaxPattern is the length in bytes of the longest pattern that Compile accepts.
const MaxPattern = 16 << 10

// MatchTimeout bounds one call on the backtracking engine.
const MatchTimeout = 50 * time.Millisecond

// The engine looks at a clock of its own, which adds its period to each bound, 100 ms unless it is told otherwise.
func init() { regexp2.SetTimeoutCheckPeriod(MatchTimeout / 10) }

// ErrTimeout says that the backtracking engine ran out of time; the input counts as not matching.
var ErrTimeout = errors.New("match regular expression: time limit of 50 ms exceeded")

// Regexp is a compiled pattern, safe for concurrent use.
type Regexp struct {
	pattern string
	fast    *regexp.Regexp
	slow    *regexp2.Regexp
	// utf8 makes the backtracking engine see code points (option "u") where it otherwise sees bytes, as PCRE does.
	utf8 bool
	// dollar tells that a "$" may also match before a line break that ends the input, as PCRE has it without the options m and D.
	dollar bool
}

// Compile compiles a pattern. opts are option strings of ngx.re ("jo", "ij", "i"): i ignores case, m and s are PCRE's multi-line and dot-all, x
// allows white space and comments, a anchors the match at the start, u matches code points; d, D, j, J, o and U tune PCRE and mean nothing here. The error names the
// pattern and what is wrong with it.
func Compile(pattern string, opts ...string) (*Regexp, error) {
	if len(pattern) > MaxPattern {
		return nil, fmt.Errorf("compile regular expression: %d bytes long, at most %d are allowed", len(pattern), MaxPattern)
	}
	r := &Regexp{pattern: pattern}
	flags := ""
	slowOpts := regexp2.RegexOptions(regexp2.RE2)
	anchor, extended := false, false
	r.dollar = hasDollar(pattern)
	for _, o := range opts {
		for _, c := range o {
			if c == 'm' || c == 'D' {
				r.dollar = false
			}
			switch c {
			case 'i':
				flags, slowOpts = flags+"i", slowOpts|regexp2.IgnoreCase
			case 'm':
				flags, slowOpts = flags+"m", slowOpts|regexp2.Multiline
			case 's':
				flags, slowOpts = flags+"s", slowOpts|regexp2.Singleline
			case 'x':
				extended, slowOpts = true, slowOpts|regexp2.IgnorePatternWhitespace
			case 'a':
				anchor = true
			case 'u':
				r.utf8 = true
			case 'd', 'D', 'j', 'J', 'o', 'U':
			default:
				return nil, fmt.Errorf("unknown flag %q (flags %q)", string(c), short(o))
			}
		}
	}
	if !extended && (r.utf8 || ascii(pattern)) {
		p := pattern
		if anchor {
			p = `\A(?:` + p + `)`
		}
		if flags != "" {
			p = "(?" + flags + ")" + p
		}
		if re, err := regexp.Compile(p); err == nil {
			r.fast = re
			return r, nil
		}
	}
	p := pattern
	if !r.utf8 {
		p = string(widen([]byte(p)))
	}
	if anchor && extended {
		// The line break ends a comment that the pattern may close with.
		p += "\n"
	}
	if anchor {
		p = `\A(?:` + p + ")"
	}
	re, err := compileSlow(p, slowOpts)
	if err != nil {
		return nil, fmt.Errorf("compile regular expression %q: %w", short(pattern), err)
	}
	re.MatchTimeout = MatchTimeout
	r.slow = re
	return r, nil
}

// compileSlow turns a panic of the parser on a pattern that it cannot cope with into an error: patterns come from outside.
func compileSlow(p string, o regexp2.RegexOptions) (re *regexp2.Regexp, err error) {
	defer func() {
		if v := recover(); v != nil {
			re, err = nil, fmt.Errorf("the pattern is not supported: %v", v)
		}
	}()
	return regexp2.Compile(p, o)
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// hasDollar tells whether a "$" of the pattern is an assertion: not escaped, and not in a class. A pattern with \z or \Z is left alone.
func hasDollar(p string) bool {
	found, class := false, false
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
			if i < len(p) && (p[i] == 'z' || p[i] == 'Z') {
				return false
			}
		case '[':
			class = true
		case ']':
			class = false
		case '$':
			found = found || !class
		}
	}
	return found
}

// short keeps messages readable.
func short(p string) string {
	if len(p) > 120 {
		return p[:117] + "..."
	}
	return p
}

// String returns the pattern as it was given.
func (r *Regexp) String() string { return r.pattern }

// Match tells whether the pattern matches anywhere in b. Running out of time counts as no match; TryMatch tells the two apart.
func (r *Regexp) Match(b []byte) bool {
	ok, _ := r.TryMatch(b)
	return ok
}

// TryMatch is Match with the reason for a missing answer: nil or ErrTimeout.
func (r *Regexp) TryMatch(b []byte) (bool, error) {
	ok, err := r.tryMatch(b)
	if line, has := r.line(b); has && !ok && err == nil {
		return r.tryMatch(line)
	}
	return ok, err
}

// line is b without the line break at its end, when the pattern may end before it.
func (r *Regexp) line(b []byte) (line []byte, has bool) {
	if r.dollar && len(b) > 0 && b[len(b)-1] == '\n' {
		return b[:len(b)-1], true
	}
	return b, false
}

func (r *Regexp) tryMatch(b []byte) (bool, error) {
	if r.fast != nil {
		return r.fast.Match(b), nil
	}
	rs, ok := r.runes(b)
	if !ok {
		return false, nil
	}
	m, err := r.slow.FindRunesMatch(rs)
	if err != nil {
		return false, ErrTimeout
	}
	return m != nil, nil
}

// FindSubmatch returns the first match and its groups, nil for a group that took no part, or nil when nothing matches. The slices alias b.
func (r *Regexp) FindSubmatch(b []byte) ([][]byte, error) {
	loc, err := r.find(b)
	if loc == nil {
		return nil, err
	}
	out := make([][]byte, len(loc)/2)
	for i := range out {
		if loc[2*i] >= 0 {
			out[i] = b[loc[2*i]:loc[2*i+1]:loc[2*i+1]]
		}
	}
	return out, nil
}

// NumGroups is the number of capturing groups.
func (r *Regexp) NumGroups() int {
	if r.fast != nil {
		return r.fast.NumSubexp()
	}
	return len(r.slow.GetGroupNumbers()) - 1
}

// Sub replaces the first match by the template, as ngx.re.sub does. replaced is false, and out is src, when nothing matches or time ran out.
func (r *Regexp) Sub(src []byte, template string) (out []byte, replaced bool, err error) {
	loc, err := r.find(src)
	if loc == nil {
		return src, false, err
	}
	out = make([]byte, 0, len(src)+len(template))
	out = append(out, src[:loc[0]]...)
	out = expand(out, template, src, loc)
	return append(out, src[loc[1]:]...), true, nil
}

// Gsub replaces every match by the template, as ngx.re.gsub does. n counts the replacements; out is src when there are none. When time runs out,
// nothing is replaced.
func (r *Regexp) Gsub(src []byte, template string) (out []byte, n int, err error) {
	locs, err := r.findAll(src)
	if line, has := r.line(src); has && err == nil {
		var before [][]int
		before, err = r.findAll(line)
		locs = merge(locs, before)
	}
	if err != nil {
		return src, 0, err
	}
	if len(locs) == 0 {
		return src, 0, nil
	}
	out = make([]byte, 0, len(src)+len(template)*len(locs))
	pos := 0
	for _, loc := range locs {
		out = append(out, src[pos:loc[0]]...)
		out = expand(out, template, src, loc)
		pos = loc[1]
	}
	return append(out, src[pos:]...), len(locs), nil
}

// CheckTemplate refuses what ngx.re.sub refuses in a replacement: a "$" that neither a group nor another "$" follows.
func CheckTemplate(template string) error {
	for i := strings.IndexByte(template, '$'); i >= 0; i = strings.IndexByte(template, '$') {
		rest := template[i+1:]
		n := 0
		switch {
		case rest == "":
		case rest[0] == '$':
			n = 1
		default:
			_, n = group(rest)
		}
		if n == 0 {
			return fmt.Errorf("invalid capturing variable name found in \"%s\"", short(template))
		}
		template = rest[n:]
	}
	return nil
}

// expand appends the template with $0, $1, ${1} replaced by the groups of a match and $$ by a dollar sign; a group that is missing is empty
// and a "$" that starts none of these is itself.
func expand(dst []byte, template string, src []byte, loc []int) []byte {
	for {
		i := strings.IndexByte(template, '$')
		if i < 0 || i == len(template)-1 {
			return append(dst, template...)
		}
		dst = append(dst, template[:i]...)
		rest := template[i+1:]
		if rest[0] == '$' {
			dst, template = append(dst, '$'), rest[1:]
			continue
		}
		g, n := group(rest)
		if n == 0 {
			dst, template = append(dst, '$'), rest
			continue
		}
		if 2*g+1 < len(loc) && loc[2*g] >= 0 {
			dst = append(dst, src[loc[2*g]:loc[2*g+1]]...)
		}
		template = rest[n:]
	}
}

// group reads a group number, bare or in braces, and returns it with the bytes it takes, 0 when there is none.
func group(s string) (g, n int) {
	braces := s[0] == '{'
	if braces {
		n++
	}
	first := n
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		if g = g*10 + int(s[n]-'0'); g > 9999 {
			g = 9999
		}
		n++
	}
	if n == first {
		return 0, 0
	}
	if braces {
		if n == len(s) || s[n] != '}' {
			return 0, 0
		}
		n++
	}
	return g, n
}

// merge are the matches of both lists from left to right, without those that overlap an earlier one. Of two that begin together the one of a counts.
func merge(a, b [][]int) (out [][]int) {
	end := 0
	for len(a) > 0 || len(b) > 0 {
		next := &a
		if len(a) == 0 || len(b) > 0 && b[0][0] < a[0][0] {
			next = &b
		}
		loc := (*next)[0]
		*next = (*next)[1:]
		if loc[0] >= end && (len(out) == 0 || loc[0] > out[len(out)-1][0]) {
			out, end = append(out, loc), loc[1]
		}
	}
	return out
}

func (r *Regexp) findAll(b []byte) ([][]int, error) {
	if r.fast != nil {
		return r.fast.FindAllSubmatchIndex(b, -1), nil
	}
	return r.findAllSlow(b)
}

// find returns the byte offsets of the first match and of its groups, -1 for a group that took no part.
func (r *Regexp) find(b []byte) ([]int, error) {
	loc, err := r.findOne(b)
	if line, has := r.line(b); has && err == nil {
		before, err := r.findOne(line)
		if err != nil {
			return nil, err
		}
		if before != nil && (loc == nil || before[0] < loc[0]) {
			return before, nil
		}
	}
	return loc, err
}

func (r *Regexp) findOne(b []byte) ([]int, error) {
	if r.fast != nil {
		return r.fast.FindSubmatchIndex(b), nil
	}
	rs, ok := r.runes(b)
	if !ok {
		return nil, nil
	}
	m, err := r.slow.FindRunesMatch(rs)
	if err != nil {
		return nil, ErrTimeout
	}
	if m == nil {
		return nil, nil
	}
	return r.offsets(m, rs), nil
}

func (r *Regexp) findAllSlow(b []byte) ([][]int, error) {
	rs, ok := r.runes(b)
	if !ok {
		return nil, nil
	}
	deadline := time.Now().Add(MatchTimeout)
	var locs [][]int
	m, err := r.slow.FindRunesMatch(rs)
	for m != nil && err == nil {
		locs = append(locs, r.offsets(m, rs))
		// The engine's limit is per match; this one is for all of them.
		if time.Now().After(deadline) {
			return nil, ErrTimeout
		}
		m, err = r.slow.FindNextMatch(m)
	}
	if err != nil {
		return nil, ErrTimeout
	}
	return locs, nil
}

// runes is the input as the backtracking engine takes it. Without option u every byte is one rune, so offsets are byte offsets and no byte is lost. With it, bytes
// that are not UTF-8 match nothing, as in PCRE.
func (r *Regexp) runes(b []byte) (rs []rune, ok bool) {
	if !r.utf8 {
		return widen(b), true
	}
	if !utf8.Valid(b) {
		return nil, false
	}
	return []rune(string(b)), true
}

func widen(b []byte) []rune {
	w := make([]rune, len(b))
	for i, c := range b {
		w[i] = rune(c)
	}
	return w
}

func (r *Regexp) offsets(m *regexp2.Match, rs []rune) []int {
	groups := m.Groups()
	loc := make([]int, 0, 2*len(groups))
	for i := range groups {
		g := &groups[i]
		if len(g.Captures) == 0 {
			loc = append(loc, -1, -1)
			continue
		}
		from, to := g.Index, g.Index+g.Length
		if r.utf8 {
			from, to = width(rs[:from]), width(rs[:to])
		}
		loc = append(loc, from, to)
	}
	return loc
}

func width(rs []rune) (n int) {
	for _, c := range rs {
		n += utf8.RuneLen(c)
	}
	return n
}
