package schema

import (
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// patternTimeout ends a match that backtracks without end; such a value counts as not matching.
const patternTimeout = 100 * time.Millisecond

// compilePattern compiles a pattern of a schema. APISIX's are PCRE: those that RE2 can do run in linear time,
// the rest (look-around, back-references) in a backtracking engine with a time limit.
func compilePattern(pattern string) (jsonschema.Regexp, error) {
	if re, err := regexp.Compile(pattern); err == nil {
		return re, nil
	}
	re, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = patternTimeout
	return (*backtracking)(re), nil
}

// backtracking is a regexp2 pattern as jsonschema wants it.
type backtracking regexp2.Regexp

func (p *backtracking) MatchString(s string) bool {
	ok, err := (*regexp2.Regexp)(p).MatchString(s)
	return err == nil && ok
}

func (p *backtracking) String() string { return (*regexp2.Regexp)(p).String() }

// format is a value of the `format` keyword that is checked; others are ignored.
type format struct {
	name  string
	match func(string) bool
}

// formats are those that the Lua library checks, as strictly as it does: addresses as inet_pton reads
// them, and the rest by simple patterns rather than by their RFCs.
var formats = func() map[string]*format {
	table := make(map[string]*format)
	add := func(name string, match func(string) bool) { table[name] = &format{name, match} }
	add("ipv4", func(s string) bool {
		addr, err := netip.ParseAddr(s)
		return err == nil && addr.Is4()
	})
	add("ipv6", func(s string) bool {
		addr, err := netip.ParseAddr(s)
		return err == nil && addr.Is6() && !strings.Contains(s, "%")
	})
	for name, pattern := range map[string]string{
		"email":    `^[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+\.[A-Za-z]{2,4}$`,
		"hostname": `^[a-zA-Z0-9.-]+$`,
		"uuid":     `^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`,
		"date":     `^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`,
		"date-time": `^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]` +
			`([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`,
		"uri": `^[a-zA-Z][a-zA-Z0-9+.-]*:[^\s]*$`,
	} {
		add(name, regexp.MustCompile(pattern).MatchString)
	}
	return table
}()
