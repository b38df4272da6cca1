package plugin

import "bytes"

type argCache struct {
	valid bool
	list  []Field
}

type cookieCache struct {
	gen  uint32
	done bool
	list []Field
}

// maxArgs bounds how many query arguments and cookies are looked at, as ngx.req.get_uri_args does by default.
const maxArgs = 100

// Args lists the decoded query arguments in order, the first 100 of them. An argument without "=" has the value nil.
func (ex *Exchange) Args() []Field {
	if ex.args.valid {
		return ex.args.list
	}
	ex.args.list = ex.appendPairs(ex.args.list[:0], ex.Request.Query)
	ex.args.valid = true
	return ex.args.list
}

// Arg returns the first query argument of that exact name, decoded.
func (ex *Exchange) Arg(name string) ([]byte, bool) {
	if len(ex.Request.Query) == 0 {
		return nil, false
	}
	for _, a := range ex.Args() {
		if string(a.Name) == name {
			return a.Value, true
		}
	}
	return nil, false
}

// DelArg removes every query argument of that name, decoded, from what the upstream gets, and leaves the others as they were sent. It tells
// whether there was one.
func (ex *Exchange) DelArg(name string) bool {
	q, found := ex.cutPairs(ex.Request.Query, name)
	if found {
		ex.SetQuery(q)
	}
	if t := ex.Request.UpstreamTarget; t != nil {
		if i := bytes.IndexByte(t, '?'); i >= 0 {
			if q, cut := ex.cutPairs(t[i+1:], name); cut {
				found = true
				if len(q) == 0 {
					ex.Request.UpstreamTarget = t[:i:i]
				} else {
					ex.Request.UpstreamTarget = ex.Concat(t[:i+1], q)
				}
			}
		}
	}
	return found
}

// cutPairs returns q without the pairs of that name.
func (ex *Exchange) cutPairs(q []byte, name string) (rest []byte, found bool) {
	for from := 0; from < len(q); {
		end := len(q)
		if i := bytes.IndexByte(q[from:], '&'); i >= 0 {
			end = from + i
		}
		key := q[from:end]
		if i := bytes.IndexByte(key, '='); i >= 0 {
			key = key[:i]
		}
		switch hit := string(ex.unescape(key)) == name; {
		case hit && !found:
			found = true
			rest = append(ex.Alloc(len(q))[:0], q[:max(from-1, 0)]...)
		case !hit && found:
			if len(rest) > 0 {
				rest = append(rest, '&')
			}
			rest = append(rest, q[from:end]...)
		}
		from = end + 1
	}
	if !found {
		return q, false
	}
	return rest, true
}

// Form lists the pairs of an urlencoded body that was buffered, or nothing.
func (ex *Exchange) Form() []Field {
	if !ex.hasBody() {
		return nil
	}
	ct := ex.Request.Header.Get("Content-Type")
	const form = "application/x-www-form-urlencoded"
	if len(ct) < len(form) || !EqualFold(ct[:len(form)], form) {
		return nil
	}
	return ex.appendPairs(nil, ex.Request.Body)
}

func (ex *Exchange) appendPairs(dst []Field, q []byte) []Field {
	for len(q) > 0 && len(dst) < maxArgs {
		part := q
		if i := bytes.IndexByte(q, '&'); i >= 0 {
			part, q = q[:i], q[i+1:]
		} else {
			q = nil
		}
		if len(part) == 0 {
			continue
		}
		var f Field
		if i := bytes.IndexByte(part, '='); i >= 0 {
			f.Name, f.Value = ex.unescape(part[:i]), ex.unescape(part[i+1:])
			if f.Value == nil {
				f.Value = emptyValue
			}
		} else {
			f.Name = ex.unescape(part)
		}
		if len(f.Name) > 0 {
			dst = append(dst, f)
		}
	}
	return dst
}

// unescape decodes %XX and "+" of a query part; a broken escape stays as it is.
func (ex *Exchange) unescape(s []byte) []byte {
	if bytes.IndexByte(s, '%') < 0 && bytes.IndexByte(s, '+') < 0 {
		return s
	}
	d := ex.Alloc(len(s))[:0]
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			d = append(d, ' ')
		case c == '%' && i+2 < len(s) && unhex[s[i+1]] < 16 && unhex[s[i+2]] < 16:
			d = append(d, unhex[s[i+1]]<<4|unhex[s[i+2]])
			i += 2
		default:
			d = append(d, c)
		}
	}
	return d
}

var unhex = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i := byte(0); i < 10; i++ {
		t['0'+i] = i
	}
	for i := byte(0); i < 6; i++ {
		t['a'+i], t['A'+i] = 10+i, 10+i
	}
	return t
}()

// Cookie returns the value of a cookie, as sent.
func (ex *Exchange) Cookie(name string) ([]byte, bool) {
	if g := ex.Request.Header.Generation(); !ex.cookies.done || ex.cookies.gen != g {
		ex.cookies.list = ex.cookies.list[:0]
		ex.cookies.done, ex.cookies.gen = true, g
		for _, f := range ex.Request.Header.Fields() {
			if EqualFold(f.Name, "cookie") {
				ex.cookies.list = appendCookies(ex.cookies.list, f.Value)
			}
		}
	}
	for _, c := range ex.cookies.list {
		if string(c.Name) == name {
			return c.Value, true
		}
	}
	return nil, false
}

func appendCookies(dst []Field, v []byte) []Field {
	for len(v) > 0 && len(dst) < maxArgs {
		part := v
		if i := bytes.IndexByte(v, ';'); i >= 0 {
			part, v = v[:i], v[i+1:]
		} else {
			v = nil
		}
		part = bytes.Trim(part, " \t")
		if i := bytes.IndexByte(part, '='); i > 0 {
			dst = append(dst, Field{Name: part[:i], Value: part[i+1:]})
		}
	}
	return dst
}
