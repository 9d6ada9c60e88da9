// Package worker runs jobs, in the same way on every queue.
//
// A [Registry] has handlers, the middleware around them and the observers of every
// run:
//
//	reg, err := worker.NewRegistry(
//		worker.Handle(orders.SendReceipt, mailer.Send),
//		worker.Middleware(tracing),
//		worker.Observer(metrics),
//	)
//
// The executor packages of queues have workers that use a registry:
//
//	w, err := asynqexec.NewWorker(rdb, reg, nil)
//	…
//	err = w.Run(ctx) // works until ctx ends
//
// A worker takes jobs from its queue and passes each as a [Delivery] to
// [Registry.Perform]. Then it does with the job what the returned [Verdict] says.
package worker
