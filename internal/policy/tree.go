package policy

// A Tree is what the packages of one run say together, such as that many of them were published within minutes.
type Tree struct{}
