"""What sits around the method: store, annotations, review, jobs, tracking, studies, what people look at."""
