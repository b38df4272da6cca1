package store

import (
	"cmp"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/control/model"
)

// entry is an object in memory. The object is never changed after it is published, only replaced.
type entry struct {
	object  *Object
	expires time.Time
	// deadline is the position in the deadline heap, -1 without a deadline.
	deadline int
}

// index finds objects by key and lists them per kind in the order of creation.
type index struct {
	entries map[model.Key]*entry
	kinds   map[model.Kind][]*Object
	due     deadlines
}

func newIndex(items []Change) *index {
	x := &index{
		entries: make(map[model.Key]*entry, len(items)),
		kinds:   make(map[model.Kind][]*Object),
	}
	for _, it := range items {
		e := &entry{object: it.Object, expires: it.Expires, deadline: -1}
		x.entries[it.Key] = e
		x.kinds[it.Key.Kind] = append(x.kinds[it.Key.Kind], it.Object)
		if !it.Expires.IsZero() {
			x.due.add(e)
		}
	}
	for _, list := range x.kinds {
		slices.SortFunc(list, byCreate)
	}
	return x
}

// byCreate orders objects of one kind.
func byCreate(a, b *Object) int {
	if c := cmp.Compare(a.Create, b.Create); c != 0 {
		return c
	}
	return cmp.Compare(a.Key.ID, b.Key.ID)
}

// apply makes a change and returns what was there before, or nil.
func (x *index) apply(c Change) *Object {
	old := x.entries[c.Key]
	var prev *Object
	if old != nil {
		prev = old.object
		if old.deadline >= 0 {
			x.due.remove(old)
		}
	}
	list := x.kinds[c.Key.Kind]
	if prev != nil {
		at, found := slices.BinarySearchFunc(list, prev, byCreate)
		switch {
		case !found:
			panic("store: object missing from its kind's list: " + c.Key.String())
		case c.Object != nil && c.Object.Create == prev.Create:
			list[at] = c.Object
		default:
			list = slices.Delete(list, at, at+1)
			if c.Object != nil {
				list = insert(list, c.Object)
			}
		}
	} else if c.Object != nil {
		list = insert(list, c.Object)
	}
	if len(list) == 0 {
		delete(x.kinds, c.Key.Kind)
	} else {
		x.kinds[c.Key.Kind] = list
	}
	if c.Object == nil {
		delete(x.entries, c.Key)
		return prev
	}
	e := &entry{object: c.Object, expires: c.Expires, deadline: -1}
	x.entries[c.Key] = e
	if !c.Expires.IsZero() {
		x.due.add(e)
	}
	return prev
}

// insert keeps the order; a new object nearly always belongs at the end.
func insert(list []*Object, o *Object) []*Object {
	at, _ := slices.BinarySearchFunc(list, o, byCreate)
	return slices.Insert(list, at, o)
}

// state lists everything, sorted by Create, then by kind and ID.
func (x *index) state(rev Rev) State {
	s := State{Rev: rev, Items: make([]Change, 0, len(x.entries))}
	for k, e := range x.entries {
		s.Items = append(s.Items, Change{Key: k, Object: e.object, Expires: e.expires})
	}
	slices.SortFunc(s.Items, func(a, b Change) int {
		return CompareObjects(a.Object, b.Object)
	})
	return s
}

// CompareObjects orders objects as All does: by Create, then by kind and ID.
func CompareObjects(a, b *Object) int {
	return cmp.Or(
		cmp.Compare(a.Create, b.Create),
		cmp.Compare(a.Key.Kind, b.Key.Kind),
		cmp.Compare(a.Key.ID, b.Key.ID),
	)
}
