package schema

import "slices"

// evalArray runs the checks of an array. v is the same array as the document has it, returned when nothing changes.
func (w *walk) evalArray(n *node, items []any, v any) (out any, changed bool, err error) {
	if n.minItems != nil && len(items) < *n.minItems {
		return nil, false, w.fail("expect array to have at least %d items", *n.minItems)
	}
	if n.maxItems != nil && len(items) > *n.maxItems {
		return nil, false, w.fail("expect array to have at most %d items", *n.maxItems)
	}
	shared := true
	for i := range items {
		sub, words := n.items, "failed to validate item %d"
		switch {
		case i < len(n.tuple):
			sub = n.tuple[i]
		case n.tuple != nil && n.noMoreItems:
			return nil, false, w.fail("found unexpected extra items in array")
		case n.tuple != nil:
			sub, words = n.additionalItems, "failed to validate additional item %d"
		}
		if sub == nil {
			break
		}
		next, different, err := w.eval(sub, items[i])
		if err != nil {
			return nil, false, w.wrap(err, words, i+1)
		}
		if different {
			if shared {
				items, shared = slices.Clone(items), false
			}
			items[i] = next
		}
	}
	if n.uniqueItems {
		if i, j, ok := duplicate(items); ok {
			return nil, false, w.fail("expected unique items but items %d and %d are equal", i+1, j+1)
		}
	}
	if shared {
		return v, false, nil
	}
	return items, true, nil
}

// evalContains wants at least one item that matches. As in the Lua library an empty object counts as an array.
func (w *walk) evalContains(n *node, v any) error {
	items, ok := asArray(v)
	if !ok {
		return nil
	}
	if len(items) == 0 {
		return w.fail("check contains: empty array is invalid")
	}
	for _, item := range items {
		_, _, err := w.try(n.contains, item)
		if err == nil {
			return nil
		}
		if err == errTooDeep {
			return err
		}
	}
	return w.fail("failed to check contains")
}

// duplicate finds two equal items. Scalars are looked up by value, so that a long array of them costs no more
// than its length; objects and arrays are compared in pairs after their sizes.
func duplicate(items []any) (first, second int, found bool) {
	scalars := make(map[any]int, len(items))
	var compound []int
	for j, item := range items {
		key, ok := scalarKey(item)
		if !ok {
			compound = append(compound, j)
			continue
		}
		if i, ok := scalars[key]; ok {
			return i, j, true
		}
		scalars[key] = j
	}
	if len(compound) < 2 {
		return 0, 0, false
	}
	// Canonical texts make this linear in the size of the document, whatever it holds.
	seen := make(map[string]int, len(compound))
	for _, j := range compound {
		text := string(canonical(nil, items[j]))
		if i, ok := seen[text]; ok {
			return i, j, true
		}
		seen[text] = j
	}
	return 0, 0, false
}
