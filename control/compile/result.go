package compile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/control/store"
)

// Result is a compiled state: the snapshot, and the outcome per object from which the next Compile goes on. It does not
// change any more once Settle was called.
type Result struct {
	Snapshot *snapshot.Snapshot
	kinds    map[model.Kind]*compiled
	problems map[model.Kind][]snapshot.Problem
	failing  map[model.Kind]map[model.Key]error
}

// compiled are the outcomes for one kind, in the order of View.List.
type compiled struct {
	entries []*entry
}

// entry is the outcome for one object. It is never changed after its Compile, but for src in Settle.
type entry struct {
	src *store.Object
	// unit is of the last version that passed the first stage, nil if there was none. err is why src did not pass.
	unit *unit
	err  error
	// out is the outcome of the second stage, nil for what is not served. linkErr is why it is not what was asked for.
	out     any
	linkErr error
	// deps are the objects that out was made from, there or not.
	deps []model.Key
	// inline is the linked upstream that stands in the object itself.
	inline *upstreamOut
}

// failure is why the object is not served as it is stored, or nil.
func (e *entry) failure() error {
	if e.err != nil {
		return e.err
	}
	return e.linkErr
}

// Failure is why an object is not served as it is stored, or nil.
func (r *Result) Failure(key model.Key) error { return r.failing[key.Kind][key] }

// NewFailure finds an object that is served in prev as it is stored but not in r, other than those whose failure is
// only that one of the objects that they refer to was deleted. It says which and why.
func (r *Result) NewFailure(prev *Result, deleted func(model.Key) bool) error {
	for _, step := range steps {
		failing := r.failing[step.kind]
		for _, key := range slices.SortedFunc(maps.Keys(failing), func(a, b model.Key) int { return cmp.Compare(a.ID, b.ID) }) {
			if prev != nil && prev.failing[key.Kind][key] != nil {
				continue
			}
			if e := r.kinds[key.Kind].find(key.ID); e != nil && e.err == nil && slices.ContainsFunc(e.deps, deleted) {
				continue
			}
			return fmt.Errorf("%s: %w", resourceKey(key), failing[key])
		}
	}
	return nil
}

// all are the entries; a kind that was never compiled has none.
func (c *compiled) all() []*entry {
	if c == nil {
		return nil
	}
	return c.entries
}

// find looks an entry up by scanning, for the rare cases.
func (c *compiled) find(id string) *entry {
	for _, e := range c.entries {
		if e.src.Key.ID == id {
			return e
		}
	}
	return nil
}

// at finds the entry of an object by its place in the order.
func (c *compiled) at(o *store.Object) *entry {
	if c == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(c.entries, o, func(e *entry, o *store.Object) int { return compareCreate(e.src, o) })
	if !ok {
		return nil
	}
	return c.entries[i]
}

// Settle tells a Result that was compiled before its changes were stored what became of them. It must come before the
// snapshot is published, and only once. assumed is the revision that new objects had in the view, rev the
// one that they got, objects are the written objects as stored. It says false, and does nothing, when they are
// not what was compiled, because somebody else wrote to the store in between.
func (r *Result) Settle(assumed, rev store.Rev, objects []*store.Object) bool {
	entries := make([]*entry, len(objects))
	for i, o := range objects {
		probe := *o
		if o.Create == rev {
			probe.Create = assumed
		}
		e := r.kinds[o.Key.Kind].at(&probe)
		if e == nil {
			return false
		}
		entries[i] = e
	}
	for i, e := range entries {
		o := objects[i]
		if route, ok := e.out.(*snapshot.Route); ok && e.src.Create != o.Create {
			route.Created = int64(o.Create)
		}
		e.src = o
	}
	r.Snapshot.Rev = int64(rev)
	return true
}

// step is how one kind is compiled. The order of the steps is that of the references: a kind comes after all kinds that it
// refers to.
type step struct {
	kind model.Kind
	link func(l *linker, e *entry)
}

var steps = []step{
	{model.SSLs, linkSSL},
	{model.Protos, linkProto},
	{model.Secrets, linkNothing},
	{model.PluginMetadatas, linkMetadata},
	{model.Upstreams, linkUpstream},
	{model.Services, linkService},
	{model.GraphQLCostDecorations, linkNothing},
	{model.PluginConfigs, linkPlugins},
	{model.ConsumerGroups, linkPlugins},
	{model.Credentials, linkCredential},
	{model.Consumers, linkConsumer},
	{model.Routes, linkRoute},
	{model.StreamRoutes, linkStreamRoute},
	{model.GlobalRules, linkPlugins},
}

// Compile turns the objects into a snapshot. It keeps everything of prev that is still true, down to the pointers;
// prev is nil for a start from nothing. It never fails: an object that does not compile is a problem in the snapshot.
// prev stays as it is, so a Result that is not wanted can be dropped.
func (c *Compiler) Compile(prev *Result, view View) *Result {
	r := &Result{
		Snapshot: &snapshot.Snapshot{},
		kinds:    make(map[model.Kind]*compiled, len(steps)),
		problems: make(map[model.Kind][]snapshot.Problem),
		failing:  make(map[model.Kind]map[model.Key]error),
	}
	if prev == nil {
		prev = &Result{Snapshot: &snapshot.Snapshot{}}
	}
	l := &linker{c: c, view: view, result: r, moved: make(map[model.Key]bool)}
	fresh := make(map[model.Kind]bool)
	for _, step := range steps {
		fresh[step.kind] = l.run(step, prev)
	}
	l.assemble(prev, fresh)
	r.Snapshot.Rev = int64(view.Rev())
	return r
}

// run compiles one kind and says whether anything in it differs from prev.
func (l *linker) run(step step, prev *Result) bool {
	old, list := prev.kinds[step.kind], l.view.List(step.kind)
	r := l.result
	if l.untouched(old, list) {
		r.kinds[step.kind], r.problems[step.kind], r.failing[step.kind] = old, prev.problems[step.kind], prev.failing[step.kind]
		return false
	}
	next := &compiled{entries: make([]*entry, 0, len(list))}
	r.kinds[step.kind] = next
	var before []*entry
	if old != nil {
		before = old.entries
	}
	for _, o := range list {
		for len(before) > 0 && before[0].src != o && compareCreate(before[0].src, o) < 0 {
			l.gone(before[0])
			before = before[1:]
		}
		var was *entry
		if len(before) > 0 && (before[0].src == o || before[0].src.Key == o.Key) {
			was, before = before[0], before[1:]
		}
		next.entries = append(next.entries, l.entry(step, was, o))
	}
	for _, e := range before {
		l.gone(e)
	}
	r.note(step.kind, next.entries)
	return true
}

// untouched says whether a kind is as it was: the same objects, none of which refers to anything that moved.
func (l *linker) untouched(old *compiled, list []*store.Object) bool {
	if old == nil {
		return len(list) == 0
	}
	if len(old.entries) != len(list) {
		return false
	}
	for i, e := range old.entries {
		if e.src != list[i] || l.affected(e) {
			return false
		}
	}
	return true
}

// affected says whether something that an entry was made from is different now.
func (l *linker) affected(e *entry) bool {
	if len(l.moved) == 0 {
		return false
	}
	for _, dep := range e.deps {
		if l.moved[dep] {
			return true
		}
	}
	return false
}

// gone notes that an object is not there any more.
func (l *linker) gone(e *entry) {
	l.moved[e.src.Key] = true
	l.touchParent(e.src.Key)
}

// entry compiles one object; was is its entry in prev, or nil.
func (l *linker) entry(step step, was *entry, o *store.Object) *entry {
	if was != nil && was.src == o && !l.affected(was) {
		return was
	}
	e := &entry{src: o}
	switch {
	case was == nil:
		e.unit, e.err = l.c.unit(o, nil)
	case was.src == o || (was.src.Mod == o.Mod && was.src.Create == o.Create):
		e.unit, e.err = was.unit, was.err
	default:
		if e.unit, e.err = l.c.unit(o, was.unit); e.err != nil {
			e.unit = was.unit
		}
	}
	l.was = was
	if e.unit != nil {
		step.link(l, e)
	}
	if was == nil || was.out == nil || e.out == nil || !same(was.out, e.out) {
		if was == nil || was.out != nil || e.out != nil {
			l.moved[o.Key] = true
			l.touchParent(o.Key)
		}
		return e
	}
	e.out = was.out
	return e
}

// touchParent marks the owner of a credential as made from something that moved.
func (l *linker) touchParent(key model.Key) {
	if username, _, ok := splitCredential(key); ok {
		l.moved[credentialsOf(username)] = true
	}
}

// credentialsOf is the key by which a consumer depends on its credentials, those to come included.
func credentialsOf(username string) model.Key {
	return model.Key{Kind: model.Credentials, ID: username}
}

// unit runs the first stage on a stored object; prev is the unit of its last good version, or nil. A panic is an error of
// this object.
func (c *Compiler) unit(o *store.Object, prev *unit) (u *unit, err error) {
	defer func() {
		if p := recover(); p != nil {
			u, err = nil, fmt.Errorf("compile panicked: %v", p)
		}
	}()
	doc, err := schema.Decode(o.Value)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	x := &examination{c: c, key: o.Key, stored: true, prev: prev}
	return x.run(doc)
}

// note collects the problems of one kind.
func (r *Result) note(kind model.Kind, entries []*entry) {
	for _, e := range entries {
		key := e.src.Key
		if err := e.failure(); err != nil {
			if r.failing[kind] == nil {
				r.failing[kind] = make(map[model.Key]error)
			}
			r.failing[kind][key] = err
			r.problems[kind] = append(r.problems[kind], snapshot.Problem{Key: resourceKey(key), Err: err.Error()})
		}
		if e.unit == nil {
			continue
		}
		for _, warning := range e.unit.warnings {
			r.problems[kind] = append(r.problems[kind], snapshot.Problem{Key: resourceKey(key), Err: warning})
		}
	}
}

// sortProblems puts problems into an order that does not depend on how they came about.
func sortProblems(problems []snapshot.Problem) {
	slices.SortStableFunc(problems, func(a, b snapshot.Problem) int { return cmp.Compare(a.Key, b.Key) })
}
