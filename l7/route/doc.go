// Package route finds the route of a request.
//
// A [Table] is an immutable index that is made from another one by adding and removing routes; making it costs what the edit touches, not what the
// table holds. Paths are kept in a radix tree over bytes; in the mode radixtree_host_uri a second tree over reversed host names holds one path tree for
// each host. A lookup walks down once, remembers the prefixes it passes, and tries them from the longest to the shortest, so
// its cost depends on the path and not on the number of routes.
//
// The order of candidates is that of lua-resty-radixtree as APISIX uses it: a URI that is the whole path comes before every prefix, a longer prefix before a
// shorter one; among routes at the same place a higher priority first, then the longer URI as written, then the older route. A
// candidate whose methods, addresses, hosts, conditions or path pattern do not hold is passed over. In radixtree_host_uri an exact host comes before
// wildcards, a longer wildcard before a shorter one, and the routes without host come last.
package route
