// Package celery tests the executor and the worker for Celery, with Celery itself.
package celery
