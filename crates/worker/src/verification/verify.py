print("this interpreter runs scripts")
