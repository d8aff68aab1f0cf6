"""What is computed: model artefacts, drivers, the scheduler, and the service that answers."""
