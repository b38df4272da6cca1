package schema

import (
	"maps"
	"slices"
)

// evalObject runs the checks of an object. v is the same object as the document has it, returned when nothing
// changes.
func (w *walk) evalObject(n *node, object map[string]any, v any) (out any, changed bool, err error) {
	shared := true
	set := func(name string, value any) {
		if shared {
			object, shared = maps.Clone(object), false
			if object == nil {
				object = make(map[string]any)
			}
		}
		object[name] = value
	}
	// Go maps may not be ranged over while set replaces them, so members are listed before defaults come in
	// where the order matters; the listed properties are looked up by name and need no list.
	for i := range n.properties {
		p := &n.properties[i]
		value, ok := object[p.name]
		if !ok {
			if p.required {
				return nil, false, w.fail("property %s is required", quoted(p.name))
			}
			if p.hasDefault {
				set(p.name, deepCopy(p.def))
			}
			continue
		}
		next, different, err := w.eval(p.node, value)
		if err != nil {
			return nil, false, w.wrap(err, "property %s validation failed", quoted(p.name))
		}
		if different {
			set(p.name, next)
		}
		if p.dependency != nil {
			if object, shared, err = w.evalDependency(p.dependency, object, shared); err != nil {
				return nil, false, err
			}
		}
	}
	for _, name := range n.required {
		if _, ok := object[name]; !ok {
			return nil, false, w.fail("property %s is required", quoted(name))
		}
	}
	for i := range n.dependencies {
		d := &n.dependencies[i]
		if _, ok := object[d.name]; !ok {
			continue
		}
		if object, shared, err = w.evalDependency(d, object, shared); err != nil {
			return nil, false, err
		}
	}
	if len(n.patterns) > 0 || n.forbidden || n.additional != nil || n.propertyNames != nil {
		if object, shared, err = w.evalMembers(n, object, shared); err != nil {
			return nil, false, err
		}
	}
	if n.minProperties != nil && len(object) < *n.minProperties {
		return nil, false, w.fail("expect object to have at least %d properties", *n.minProperties)
	}
	if n.maxProperties != nil && len(object) > *n.maxProperties {
		return nil, false, w.fail("expect object to have at most %d properties", *n.maxProperties)
	}
	if shared {
		return v, false, nil
	}
	return object, true, nil
}

// evalDependency checks what must hold when the property of the dependency is there, which the caller has found
// out. It returns the object with what the dependent schema filled in.
func (w *walk) evalDependency(d *dependency, object map[string]any, shared bool) (map[string]any, bool, error) {
	for _, name := range d.required {
		if _, ok := object[name]; !ok {
			return nil, false, w.fail("property %s is required when %s is set", quoted(name), quoted(d.name))
		}
	}
	if d.node == nil {
		return object, shared, nil
	}
	next, different, err := w.eval(d.node, object)
	if err != nil {
		return nil, false, w.wrap(err, "failed to validate dependent schema for %s", quoted(d.name))
	}
	if different {
		if filled, ok := next.(map[string]any); ok {
			return filled, false, nil
		}
	}
	return object, shared, nil
}

// evalMembers checks every member by patternProperties, additionalProperties and propertyNames. The members
// are taken in the order of their names, so that the same document always gets the same message.
func (w *walk) evalMembers(n *node, object map[string]any, shared bool) (map[string]any, bool, error) {
	if len(n.patterns) == 0 && n.additional == nil && n.propertyNames == nil {
		return object, shared, w.evalForbidden(n, object)
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value := object[name]
		if n.propertyNames != nil {
			if _, _, err := w.eval(n.propertyNames, name); err != nil {
				return nil, false, w.wrap(err, "failed to validate property name %s", quoted(name))
			}
		}
		matched := n.propertySet[name]
		changed := false
		for i := range n.patterns {
			p := &n.patterns[i]
			if !p.re.MatchString(name) {
				continue
			}
			matched = true
			next, different, err := w.eval(p.node, value)
			if err != nil {
				return nil, false, w.wrap(err, "failed to validate %s (matching %s)", name, quoted(p.re.String()))
			}
			if different {
				value, changed = next, true
			}
		}
		if !matched {
			if n.forbidden {
				return nil, false, w.fail("additional properties forbidden, found %s", name)
			}
			if n.additional != nil {
				next, different, err := w.eval(n.additional, value)
				if err != nil {
					return nil, false, w.wrap(err, "failed to validate additional property %s", name)
				}
				if different {
					value, changed = next, true
				}
			}
		}
		if changed {
			if shared {
				object, shared = maps.Clone(object), false
			}
			object[name] = value
		}
	}
	return object, shared, nil
}

// evalForbidden refuses members that the schema does not name; of several, the first by name is reported.
func (w *walk) evalForbidden(n *node, object map[string]any) error {
	found, ok := "", false
	for name := range object {
		if !n.propertySet[name] && (!ok || name < found) {
			found, ok = name, true
		}
	}
	if ok {
		return w.fail("additional properties forbidden, found %s", found)
	}
	return nil
}
