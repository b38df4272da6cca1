package compile

import (
	"cmp"
	"slices"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// Objects is the View that the controller keeps: immutable, so that readers need no lock, and cheap to derive the next
// state from, since an edit copies pointers of the touched kinds only.
type Objects struct {
	rev   store.Rev
	kinds map[model.Kind]*objectList
}

var _ View = (*Objects)(nil)

// objectList holds the objects of one kind in two orders.
type objectList struct {
	byID, byCreate []*store.Object
}

// NewObjects returns the state that consists of the objects, which it keeps pointers to.
func NewObjects(rev store.Rev, objects []store.Object) *Objects {
	o := &Objects{rev: rev, kinds: make(map[model.Kind]*objectList)}
	for i := range objects {
		object := &objects[i]
		list := o.kinds[object.Key.Kind]
		if list == nil {
			list = &objectList{}
			o.kinds[object.Key.Kind] = list
		}
		list.byCreate = append(list.byCreate, object)
	}
	for _, list := range o.kinds {
		slices.SortFunc(list.byCreate, compareCreate)
		list.byID = slices.Clone(list.byCreate)
		slices.SortFunc(list.byID, compareID)
	}
	return o
}

// Get implements View.
func (o *Objects) Get(key model.Key) *store.Object {
	list := o.kinds[key.Kind]
	if list == nil {
		return nil
	}
	at, ok := slices.BinarySearchFunc(list.byID, key.ID, objectID)
	if !ok {
		return nil
	}
	return list.byID[at]
}

// List implements View.
func (o *Objects) List(kind model.Kind) []*store.Object {
	if list := o.kinds[kind]; list != nil {
		return list.byCreate
	}
	return nil
}

// Rev implements View.
func (o *Objects) Rev() store.Rev { return o.rev }

// With returns the state after the changes, at revision rev. An object that is nil in objects is absent afterwards.
func (o *Objects) With(rev store.Rev, objects map[model.Key]*store.Object) *Objects {
	next := &Objects{rev: rev, kinds: make(map[model.Kind]*objectList, len(o.kinds))}
	touched := make(map[model.Kind]map[string]*store.Object)
	for key, object := range objects {
		if touched[key.Kind] == nil {
			touched[key.Kind] = make(map[string]*store.Object)
		}
		touched[key.Kind][key.ID] = object
	}
	for kind, list := range o.kinds {
		next.kinds[kind] = list
	}
	for kind, changes := range touched {
		next.kinds[kind] = next.kinds[kind].with(changes)
	}
	return next
}

// with merges changes into both orders in one pass each.
func (l *objectList) with(changes map[string]*store.Object) *objectList {
	var old objectList
	if l != nil {
		old = *l
	}
	var added []*store.Object
	for _, object := range changes {
		if object != nil {
			added = append(added, object)
		}
	}
	var removed []*store.Object
	for id := range changes {
		if at, ok := slices.BinarySearchFunc(old.byID, id, objectID); ok {
			removed = append(removed, old.byID[at])
		}
	}
	return &objectList{
		byID:     merge(old.byID, added, removed, compareID),
		byCreate: merge(old.byCreate, added, removed, compareCreate),
	}
}

// merge returns the sorted list without what is removed, which is in it, and with what is added. What lies between is
// copied in runs.
func merge(list, added, removed []*store.Object, compare func(a, b *store.Object) int) []*store.Object {
	slices.SortFunc(added, compare)
	slices.SortFunc(removed, compare)
	out := make([]*store.Object, 0, len(list)-len(removed)+len(added))
	from := 0
	keep := func(to int) {
		for len(removed) > 0 {
			at, _ := slices.BinarySearchFunc(list, removed[0], compare)
			if at >= to {
				break
			}
			out = append(out, list[from:at]...)
			from, removed = at+1, removed[1:]
		}
		if from < to {
			out = append(out, list[from:to]...)
			from = to
		}
	}
	for _, object := range added {
		at, _ := slices.BinarySearchFunc(list, object, compare)
		keep(at)
		out = append(out, object)
	}
	keep(len(list))
	return out
}

func objectID(o *store.Object, id string) int { return cmp.Compare(o.Key.ID, id) }

func compareID(a, b *store.Object) int { return cmp.Compare(a.Key.ID, b.Key.ID) }

func compareCreate(a, b *store.Object) int {
	return cmp.Or(cmp.Compare(a.Create, b.Create), cmp.Compare(a.Key.ID, b.Key.ID))
}
