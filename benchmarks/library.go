package main

import "golang.org/x/sync/errgroup"

// producers is how many goroutines share the work where a library has no batch.
const producers = 64

// libraryContenders use a library's own enqueue: one call after the other, and from
// many goroutines.
func libraryContenders(name string, enqueue, clear func() error) []Contender {
	prepare := func(int) error { return clear() }
	return []Contender{
		{Name: name + ", loop of Enqueue", MaxSize: loopSize, Prepare: prepare, HandOver: func(n int) error {
			for range n {
				if err := enqueue(); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: name + ", 64 goroutines", Prepare: prepare, HandOver: func(n int) error {
			var g errgroup.Group
			for producer := range min(n, producers) {
				g.Go(func() error {
					for i := producer; i < n; i += producers {
						if err := enqueue(); err != nil {
							return err
						}
					}
					return nil
				})
			}
			return g.Wait()
		}},
	}
}
