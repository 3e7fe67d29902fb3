prod
