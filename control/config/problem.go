package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Error is one problem that stops the start.
type Error struct {
	File  string
	Line  int    // 1-based; 0 when the problem belongs to the file as a whole
	Field string // dotted, with list positions in brackets: apisix.node_listen[1].port; may be empty
	Msg   string
}

// Error is the problem on one line: "config.yaml:12: apisix.node_listen: expected a port, ...".
func (e *Error) Error() string { return position(e.File, e.Line, e.Field) + e.Msg }

// Warning is one problem that the gateway can run with. It prints like an Error.
type Warning struct {
	File  string
	Line  int
	Field string
	Msg   string
}

// String is the warning on one line.
func (w Warning) String() string { return position(w.File, w.Line, w.Field) + w.Msg }

func position(file string, line int, field string) string {
	s := file
	if line > 0 {
		s += ":" + strconv.Itoa(line)
	}
	s += ": "
	if field != "" {
		s += field + ": "
	}
	return s
}

// maxProblems bounds what one file can make us say; a hostile file has hundreds of thousands of keys.
const maxProblems = 100

// problems collects what is wrong with one file.
type problems struct {
	file   string
	errs   []*Error
	warns  []Warning
	unsaid int // errors beyond maxProblems
}

func (p *problems) fail(line int, field, format string, args ...any) {
	if len(p.errs) >= maxProblems {
		p.unsaid++
		return
	}
	p.errs = append(p.errs, &Error{File: p.file, Line: line, Field: field, Msg: fmt.Sprintf(format, args...)})
}

func (p *problems) warn(line int, field, format string, args ...any) {
	if len(p.warns) >= maxProblems {
		return
	}
	p.warns = append(p.warns, Warning{File: p.file, Line: line, Field: field, Msg: fmt.Sprintf(format, args...)})
}

// err joins every Error in the order of the file; nil when there is none. A caller gets them one by one from
// the Unwrap() []error of the result.
func (p *problems) err() error {
	slices.SortStableFunc(p.errs, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	all := make([]error, 0, len(p.errs)+1)
	for _, e := range p.errs {
		all = append(all, e)
	}
	if p.unsaid > 0 {
		all = append(all, &Error{File: p.file, Msg: fmt.Sprintf("and %d more errors", p.unsaid)})
	}
	return errors.Join(all...)
}

func (p *problems) warnings() []Warning {
	slices.SortStableFunc(p.warns, func(a, b Warning) int { return cmp.Compare(a.Line, b.Line) })
	return p.warns
}
